#!/bin/sh
# Kills process groups when stdin ends: whoever holds the other end has closed it, or is dead.
# A line "+ 123" adds a group, "- 123" takes it out. What has $1 in its environment is killed, whatever its group.
# A line "." says that the holder ends as it should. Else it was killed, perhaps while it started a process, which is
# seen a moment later.
trap '' INT TERM HUP
groups=' '
looks=5
while read -r sign group; do
    case "$sign $groups" in
    .*) looks=1 ;;
    +*) groups="$groups$group " ;;
    -*" $group "*) groups="${groups%%" $group "*} ${groups#*" $group "}" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done 2>/dev/null
tries=0 # again and again: one that is killed may have started another a moment before
while [ $tries -lt 30 ]; do
    tries=$((tries + 1))
    marked=$(grep -lsz "^$1\$" /proc/[0-9]*/environ)
    if [ -z "$marked" ]; then # its status says that some process has gone meanwhile
        looks=$((looks - 1))
        [ $looks -gt 0 ] || break
        sleep 0.1
    fi
    for path in $marked; do
        pid=${path#/proc/}
        kill -s KILL "${pid%/environ}"
    done 2>/dev/null
done
exit 0
