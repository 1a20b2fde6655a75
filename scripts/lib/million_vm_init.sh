#!/bin/sh
# The first process of the virtual machine of scripts/million-vm: tunes it, holds the connections,
# tells on the second serial line what it sees, and switches the machine off.
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
# CONNECTIONS, PROCESSES, FILES_MAX, SECONDS_MAX, RESERVE_KB
. /settings

say() {
    echo "$*" >/dev/ttyS1
}

end() {
    say "end $*"
    sync
    poweroff -f
}

# A line of /knobs: the file, then for each of its numbers at least (g), at most (l) or as it is (k).
tune() {
    while read -r path wanted; do
        [ -w "/proc/sys/$path" ] || continue
        # shellcheck disable=SC2046 # each number is a word of its own
        set -- $(cat "/proc/sys/$path")
        values=
        for field in $wanted; do
            value=$1
            case $field in
                g*) [ "${field#g}" -gt "$value" ] && value=${field#g} ;;
                l*) [ "${field#l}" -lt "$value" ] && value=${field#l} ;;
            esac
            values="$values $value"
            shift
        done
        echo "${values# }" >"/proc/sys/$path"
        # shellcheck disable=SC2046
        say "knob $path $(echo $(cat "/proc/sys/$path"))"
    done </knobs
}

# A number of a file, by the word before it.
number() {
    sed -n "s/.*\b$1:\{0,1\}[ \t]*\([0-9][0-9]*\).*/\1/p" "$2" | head -n 1
}

connections() {
    wget -q -O - http://127.0.0.1:9090/metrics |
        awk '/^tidegate_connections[{ ]/ { sum += $NF } END { print sum + 0 }'
}

look() {
    say "seen $1 connections $2 rss_kb $(number Rss "/proc/$server/smaps_rollup")" \
        "available_kb $(number MemAvailable /proc/meminfo) slab_kb $(number Slab /proc/meminfo)" \
        "tcp_inuse $(number inuse /proc/net/sockstat) seconds $(cut -d ' ' -f 1 /proc/uptime)"
}

ip link set lo up
tune
ulimit -n "$FILES_MAX" || end "the limit of open files is refused"
ulimit -l unlimited
say "kernel $(uname -r)"
say "memory_kb $(number MemTotal /proc/meminfo)"

tidegate serve --listen 127.0.0.1:8080 --admin 127.0.0.1:9090 --descriptors process --shards 1 \
    >/tmp/server 2>&1 &
server=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    grep -q 'admin on' /tmp/server && break
    sleep 1
done
say "server $(tr '\n' ' ' </tmp/server)"
say "limits $(grep 'Max open files' "/proc/$server/limits")"
sleep 1
look before 0

tidegate-bench idle ws://127.0.0.1:8080/echo -c "$CONNECTIONS" --processes "$PROCESSES" -t 1 --verify \
    -d "${HOLD_SECONDS}s" --pid "$server" --connect-timeout 3600s --abort --json >/tmp/report 2>/tmp/errors &
client=$!

until_seconds=$(($(cut -d . -f 1 /proc/uptime) + SECONDS_MAX))
held=
while kill -0 "$client" 2>/dev/null; do
    sleep 5
    if [ "$(number MemAvailable /proc/meminfo)" -lt "$RESERVE_KB" ]; then
        kill "$client"
        end "stopped: memory ran low"
    fi
    if [ "$(cut -d . -f 1 /proc/uptime)" -gt "$until_seconds" ]; then
        kill "$client"
        end "stopped: not done after $SECONDS_MAX s"
    fi
    count=$(connections)
    look under_way "$count"
    if [ -z "$held" ] && [ "$count" -ge "$CONNECTIONS" ]; then
        held=yes
        look held "$count"
        # One process, one table: descriptors counted, and threads that share it.
        say "threads $(number Threads "/proc/$server/status") table_size $(number FDSize "/proc/$server/status")" \
            "descriptors $(find "/proc/$server/fd" -maxdepth 1 | tail -n +2 | wc -l)"
    fi
done
wait "$client"
code=$?
sed 's/^/error /' /tmp/errors | tail -n 20 >/dev/ttyS1
say "report $(tr -d '\n' </tmp/report)"
end "client $code"
