# SPDX-License-Identifier: MIT
#
# Commands beside each other: each waits for one of some places, runs with its output in a file, and is shown in the order in which
# they were started, the first of those that still run while it runs. Sourced by tests/run.sh, which has $scratch and as_root.

declare -A started=() # pid by name

# open_places N: so many commands at a time
open_places() {
    mkfifo "$scratch/places"
    exec {places}<>"$scratch/places"
    printf '%*s' "$1" '' >&"$places"
}

# A place is a byte in the pipe.
in_a_place() {
    read -r -N 1 -u "$places"
    "$@" || true
    printf ' ' >&"$places"
}

# start NAME COMMAND...: in a process group of its own, so that it can be ended with all that it runs
start() {
    local name=$1
    shift
    set -m
    in_a_place "$@" >"$scratch/$name.output" 2>&1 </dev/null &
    started[$name]=$!
    set +m
}

# follow NAME: shows what it says until it has ended
follow() {
    tail -n +1 -s 0.2 -f --pid="${started[$1]}" "$scratch/$1.output"
    wait "${started[$1]}" || true
    unset "started[$1]"
}

# A command as root with a /run/forksafe of its own, where servers go that a fault keeps from the directory of their test: those of
# other specs must not see them. Where no namespace is to be had, without.
apart() {
    if as_root unshare --mount true 2>/dev/null; then
        as_root unshare --mount --propagation private sh -c '
            mkdir -p /run/forksafe && mount -t tmpfs -o mode=755 forksafe /run/forksafe
            exec "$@"' sh "$@"
    else
        as_root "$@"
    fi
}

# For an end before the end: commands in the background do not get the terminal's Ctrl-C.
end_started() {
    local pid
    for pid in "${started[@]}"; do
        as_root kill -TERM -- "-$pid" 2>/dev/null || true
    done
}
