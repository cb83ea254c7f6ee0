#!/bin/bash
# SPDX-License-Identifier: MIT
#
# How often each scenario of tests/support/fork_safety.lua breaks, without a repair and with each: RUNS runs (20) of every arm, on the real
# servers and databases. Prints the table of tests/bench/README.md. Needs a build (tests/run.sh) and root.
#   tests/bench/fork_safety.sh [RUNS [NUMBER...]]    of the scenarios with these numbers
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"
cd "$root"
export FORKSAFE_BUILD=${FORKSAFE_BUILD-$build} RUNS=${1-20} NUMBERS="${*:2}"
exec /usr/bin/luajit -e 'package.path = "tests/?.lua;tests/?/init.lua;" .. package.path' tests/bench/fork_safety.lua
