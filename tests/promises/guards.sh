# SPDX-License-Identifier: MIT
#
# What tests/run.sh --guards [N...] does: in a build of its own in which each promise's guard has a switch (runtime/core/guards.h), the
# short form once with all guards, then once for each switch. With switch N off exactly promise N's tests must fail.
# Sourced by tests/run.sh, after examples/setup.sh.

build=$root/build/guards
options+=(-DFORKSAFE_GUARDS=ON)

# A question to tests/support/guards.lua: judge FUNCTION ARGUMENT...
judge() {
    (cd tests && /usr/bin/luajit -e 'local call = table.remove(arg, 1) os.exit(require("support.guards")[call](unpack(arg)))' - "$@" </dev/null)
}

# One spec with one guard off, bounded in time. The promise's own spec ends at its first failure: one is enough.
run_unguarded() {
    local number=$1 spec=$2 name going=--keep-going place=$scratch/guard-$1
    name=$(basename "$spec" _spec.lua)
    [[ $name != "$(printf '%02d' "$number")"_* ]] || going=--no-keep-going
    rm -f "$place/$name".*
    apart env TMPDIR="$place" FORKSAFE_UNGUARDED="$number" FORKSAFE_BUILD="$build" FORKSAFE_TEST_RESULT="$place/$name.result" \
        FORKSAFE_PROMISES="$place/$name.cells" PATH="$PATH" LC_ALL="$LC_ALL" timeout -k 10 "$spec_seconds" \
        /usr/bin/luajit /usr/bin/busted --output=support.report $going "$spec" </dev/null >"$place/$name.output" 2>&1 || true
    as_root chmod a+r "$place/$name".*
}

# All specs with one guard off. What fails and should not is run again: a machine that is busy makes tests fail as well.
run_switch() {
    local number=$1 spec place=$scratch/guard-$1
    mkdir -p "$place" && chmod 755 "$place" # servers under test change their user
    for spec in "${specs[@]}"; do
        run_unguarded "$number" "$spec"
        judge is_as_expected "$number" "$place" "$spec" || run_unguarded "$number" "$spec"
    done
    return 0
}

# The row of one switch, and what its specs said where that is not what it should be.
tell_switch() {
    local number=$1 spec name place=$scratch/guard-$1
    if judge tell "$number" "$place" "${specs[@]}"; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    for spec in "${specs[@]}"; do
        judge is_as_expected "$number" "$place" "$spec" && continue
        name=$(basename "$spec" _spec.lua)
        grep -A 20 '^FAILED' "$place/$name.output" | head -n 60 | sed 's/^/        /' || true
    done
}

# Each is one spec after the other, which mostly waits. The rows come in the order of the numbers.
run_switches() {
    local number
    [ $# -gt 0 ] || set -- $(judge numbers)
    echo
    say "with one guard off at a time:"
    for number in "$@"; do
        start "switch-$number" run_switch "$number"
    done
    for number in "$@"; do
        follow "switch-$number"
        tell_switch "$number"
    done
}
