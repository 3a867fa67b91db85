#!/bin/sh
# Removes a folder when stdin ends without a word: whoever held the other end is dead. A line says that it is removed.
# Twice, for a process that is being killed at the same time may still make a file in it.
trap '' INT TERM HUP
read -r _ || rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
