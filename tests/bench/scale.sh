#!/bin/bash
# SPDX-License-Identifier: MIT
#
# How `forksafe debug`, `ps` and `debug --metrics` grow with the journal: 10, 100, 1,000 and 10,000 slots, each ring of 32 records full, as many
# distinct subscribers as slots, a tenth of the processes alive. The journals are written by real children through the library's own writer
# (fill_journal.c). Builds ./build, prints a table and writes tests/bench/scale.svg; tests/bench/README.md has the last run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"
cd "$root"

scratch=$(mktemp -d /dev/shm/forksafe-bench-XXXXXX) # tmpfs, as /run is
trap 'rm -rf "$scratch"' EXIT

make_build_directory
build_forksafe -DFORKSAFE_TESTS=ON -DFORKSAFE_UWSGI=OFF -DFORKSAFE_SANITIZE=

say "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'), $(nproc) cores, Linux $(uname -r), $(date -u +%F)"
/usr/bin/python3 tests/bench/scale.py "$build" "$scratch" tests/bench/scale.svg
