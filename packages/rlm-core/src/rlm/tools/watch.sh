#!/bin/sh
# Kills process groups when stdin ends: whoever holds the other end has closed it, or is dead.
# A line "+ 123" adds a group, "- 123" takes it out.
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
exit 0
