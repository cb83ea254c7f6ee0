#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What `forksafe doctor` costs on a server of 1,000 workers with 100 descriptors each, beside `lsof -nP` on the same pids:
# five rounds of both arms interleaved, medians, and the machine. Builds ./build. tests/bench/README.md has the last run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"
cd "$root"

rounds=5
workers=${1:-1000}
descriptors=${2:-100}
command -v lsof >/dev/null || fail "lsof is needed: apt-get install lsof"
scratch=$(mktemp -d)
doctor=${FORKSAFE_DOCTOR:-$build/runtime/forksafe-doctor}

finish() {
    exec 3>&- || true # the server ends with its standard input
    wait || true
    rm -rf "$scratch"
}
trap finish EXIT

if [ -z "${FORKSAFE_DOCTOR-}" ]; then
    make_build_directory
    build_forksafe -DFORKSAFE_SANITIZE=
fi
cc -D_GNU_SOURCE -O2 -Wall -Wextra -o "$scratch/tree" tests/bench/doctor_tree.c

mkfifo "$scratch/input"
"$scratch/tree" "$workers" "$descriptors" <"$scratch/input" >"$scratch/pids" 3>&- &
exec 3>"$scratch/input"
for _ in $(seq 600); do
    grep -q . "$scratch/pids" && [ "$(wc -w <"$scratch/pids")" -gt "$workers" ] && break
    sleep 0.1
done
read -ra pids <"$scratch/pids"
list=$(IFS=, && echo "${pids[*]}")

# timed NAME COMMAND...: its seconds (elapsed, of processor) and kilobytes are added to a file. Findings make the doctor exit with 1.
timed() {
    /usr/bin/python3 - "$scratch/$1" "${@:2}" <<'END'
import os, sys, time
out, argv = sys.argv[1], sys.argv[2:]
begun = time.monotonic()
pid = os.fork()
if pid == 0:
    os.dup2(os.open(out + ".out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.execvp(argv[0], argv)
usage = os.wait4(pid, 0)[2]
with open(out + ".times", "a") as times:
    print(time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=times)
END
}

say "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'), $(nproc) cores, Linux $(uname -r), $(date -u +%F)"
say "${#pids[@]} processes, $(ls "/proc/${pids[1]}/fd" | wc -l) descriptors in each; $rounds rounds, load $(cut -d' ' -f1 /proc/loadavg)"
for _ in $(seq $rounds); do
    timed doctor "$doctor" --json "${pids[0]}"
    timed lsof lsof -nP -p "$list"
done
/usr/bin/python3 - "$scratch" <<'END'
import json, statistics, sys
for name in ("doctor", "lsof"):
    rows = [[float(word) for word in line.split()] for line in open(f"{sys.argv[1]}/{name}.times")]
    elapsed, processor, kilobytes = zip(*rows)
    print(f"{name:<8} {statistics.median(elapsed):6.2f} s elapsed ({min(elapsed):.2f} to {max(elapsed):.2f}), "
          f"{statistics.median(processor):6.2f} s of processor, {statistics.median(kilobytes) / 1024:6.1f} MB")
found = json.load(open(f"{sys.argv[1]}/doctor.out"))
print(f"doctor: {len(found['processes'])} processes, " + ", ".join(f"{one['id']} {one['count']}" for one in found["findings"]))
print(f"lsof:   {sum(1 for _ in open(sys.argv[1] + '/lsof.out')) - 1} lines")
END
