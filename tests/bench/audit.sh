#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the audit costs in a master with 10 to 10,000 descriptors, per descriptor and in time of the processor, beside `lsof -nP -p` on the same process; the system
# calls of a fork at which nothing has changed; and the quarantine of 100 sockets. Builds ./build. tests/bench/README.md has the last run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"
cd "$root"

rounds=${1:-21}
command -v lsof >/dev/null || fail "lsof is needed: apt-get install lsof"
command -v strace >/dev/null || fail "strace is needed: apt-get install strace"
scratch=$(mktemp -d /dev/shm/forksafe-bench-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
if [ -z "${FORKSAFE_BENCH_BUILD-}" ]; then
    make_build_directory
    build_forksafe -DFORKSAFE_SANITIZE=
fi
build=${FORKSAFE_BENCH_BUILD:-$build}
cc -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wl,-z,now -I runtime/include -o "$scratch/audit" tests/bench/audit.c \
    -L "$build/runtime" -lforksafe "-Wl,-rpath,$build/runtime"

ini() { # NAME LINES
    mkdir -p "$scratch/$1-hooks"
    printf '[forksafe]\nruntime_dir = %s\nscripts = %s-hooks\nlog_level = error\n%b[settings]\n' "$scratch/run" "$1" "$2" >"$scratch/$1.ini"
}
ini on ''
ini off 'audit = off\n'
ini quarantine 'lua_libs = full\n'
cat >"$scratch/quarantine-hooks/postfork.lua" <<'LUA'
return function(event)
  local before = os.clock()
  local count = event.process:quarantine { all = true }
  io.stderr:write(("%d %.0f\n"):format(count, (os.clock() - before) * 1e6))
end
LUA

cd "$scratch"
echo "descriptors | look us | per descriptor us | nothing changed us | child us | lsof us per descriptor | lsof / look"
for count in 10 100 1000 10000; do
    read -r look same child _ < <(./audit on.ini "$count" "$rounds")
    read -r off off_same off_child _ < <(./audit off.ini "$count" "$rounds")
    mkfifo input
    AUDIT_WAITS=1 ./audit off.ini "$count" 1 <input >waiting &
    pid=$!
    exec 3>input
    until grep -q . waiting; do sleep 0.05; done
    best=
    for _ in 1 2 3; do
        spent=$({ TIMEFORMAT='%3U %3S' && time lsof -nP -p "$pid" >/dev/null 2>&1; } 2>&1 | awk '{ printf "%d", ($1 + $2) * 1e6 }')
        [ -n "$best" ] && [ "$best" -le "$spent" ] || best=$spent
    done
    exec 3>&-
    wait "$pid"
    rm input waiting
    awk -v n="$count" -v look="$look" -v off="$off" -v same="$same" -v off_same="$off_same" -v child="$child" -v off_child="$off_child" \
        -v lsof="$best" 'BEGIN { cost = look - off; printf "%d | %.0f | %.2f | %.1f | %.1f | %.2f | %.0f\n",
            n, cost, cost / n, same - off_same, child - off_child, lsof / n, lsof / cost }'
done

for name in on off; do
    strace -o trace ./audit "$name.ini" 0 1 >/dev/null
    awk -v name="$name" '/^getuid/ { inside = !inside; next } inside { calls++ }
        END { print "system calls of a PreFork at which nothing has changed, audit " name ": " calls }' trace
done
echo "quarantine: sockets and microseconds of the processor"
./audit quarantine.ini 400 5 2>&1 >/dev/null | sort -n -k2 | sed -n 3p
