#!/bin/sh
# Kills process groups when stdin ends: whoever holds the other end has closed it, or is dead.
# A line "+ 123" adds a group, "- 123" takes it out. What has $1 in its environment is killed, whatever its group.
trap '' INT TERM HUP
groups=' '
while read -r sign group; do
    case "$sign $groups" in
    +*) groups="$groups$group " ;;
    -*" $group "*) groups="${groups%%" $group "*} ${groups#*" $group "}" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done 2>/dev/null
tries=0 # again and again: one that is killed may have started another a moment before
while [ $tries -lt 20 ]; do
    marked=$(grep -lsz "^$1\$" /proc/[0-9]*/environ)
    [ -n "$marked" ] || break # its status says that some process has gone meanwhile
    for path in $marked; do
        pid=${path#/proc/}
        kill -s KILL "${pid%/environ}"
    done 2>/dev/null
    tries=$((tries + 1))
done
exit 0
