#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What one PostFork hook (the quickstart's) costs in a fresh child, beside a child without: five rounds of both arms interleaved, the
# median of each figure over the rounds, and the machine. Builds ./build. tests/bench/README.md has the last run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"
cd "$root"

rounds=5
forks=2000
scratch=$(mktemp -d /dev/shm/forksafe-bench-XXXXXX) # tmpfs, as /run is
trap 'rm -rf "$scratch"' EXIT

make_build_directory
build_forksafe -DFORKSAFE_TESTS=ON -DFORKSAFE_UWSGI=OFF -DFORKSAFE_SANITIZE=

mkdir -m 700 "$scratch/run" "$scratch/hooks"
cp examples/quickstart/hooks/postfork.lua "$scratch/hooks/"
printf '[app:main]\nuse = egg:myapp\ndb.host = 10.0.0.5\nforksafe.scripts = %%(here)s/hooks\nforksafe.log_level = %s\n' warning \
    >"$scratch/quiet.ini"

say "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'), $(nproc) cores, Linux $(uname -r), $(date -u +%F)"
say "$rounds rounds of $forks forks of each arm; the hook's line is formatted and dropped (log_level = warning)"
for round in $(seq $rounds); do
    taskset -c 0 env RUNTIME_DIRECTORY="$scratch/run" "$build/tests/fork_hook" "$scratch/quiet.ini" $forks >"$scratch/$round.json"
done
/usr/bin/python3 - "$scratch" $rounds <<'END'
import json, statistics, sys
scratch, rounds = sys.argv[1], int(sys.argv[2])
runs = [json.load(open(f"{scratch}/{n}.json")) for n in range(1, rounds + 1)]
def line(what, values, unit):
    print(f"{what:<58} {statistics.median(values):9.1f} {unit:<4} (rounds {min(values):.1f} to {max(values):.1f})")
line("the hook in a fresh child, around the emit", [r["hook"]["microseconds"] for r in runs], "us")
line("  minor faults of it", [r["hook"]["minor_faults"] for r in runs], "")
line("nothing, measured in the same way", [r["bare"]["microseconds"] for r in runs], "us")
line("  minor faults of it", [r["bare"]["minor_faults"] for r in runs], "")
line("fork to wait, with the hook", [r["hook"]["fork_to_wait_microseconds"] for r in runs], "us")
line("fork to wait, bare", [r["bare"]["fork_to_wait_microseconds"] for r in runs], "us")
line("private dirty memory that the hook adds to the child",
     [r["hook"]["private_dirty_kb"] - r["bare"]["private_dirty_kb"] for r in runs], "kB")
END
