#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fuzzes the ini loader, the journal's readers, the script loader with the VM, and the HTTP side, with libFuzzer under ASan and UBSan;
# prints a line a target. What is found stands in build/fuzz/found/; inputs worth keeping in build/fuzz/corpus/.
#   tests/fuzz/run.sh [SECONDS] [TARGET...]   each target for so long (20), one after the other
#   tests/fuzz/run.sh --together SECONDS      all targets at the same time
#   tests/fuzz/run.sh --seeds                 each seed once
#   tests/fuzz/run.sh --coverage              the lines covered of each source file, by the seeds and all inputs kept; one of
#                                             tests/fuzz/coverage under 85 % without a reason there is a failure
#   tests/fuzz/run.sh --keep                  adds to tests/fuzz/seeds/ what of the inputs kept reaches more code
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"

packages_to_fuzz=(clang libclang-rt-14-dev llvm)
all_targets=(ini journal script http)
enough=85 # per cent of a file's lines

build=${FORKSAFE_BUILD:-$build}
fuzz=$build/fuzz
here=$root/tests/fuzz

# build_fuzzers DIRECTORY SANITIZERS FLAGS
build_fuzzers() {
    say "building the fuzzers in ${1#"$root"/}/"
    mkdir -p "$1"
    CC=clang logged "$1/configure.log" "cmake could not configure" \
        cmake -S "$root" -B "$1" -G Ninja -DFORKSAFE_FUZZ=ON "-DFORKSAFE_SANITIZE=$2" "-DCMAKE_C_FLAGS=$3" \
        -DFORKSAFE_UWSGI=OFF -DFORKSAFE_NGINX=OFF -DFORKSAFE_APACHE=OFF -DFORKSAFE_RUBY=OFF -DFORKSAFE_PYTHON=OFF
    logged "$1/build.log" "the fuzzers cannot be built" cmake --build "$1" --target "${all_targets[@]/#/fuzz_}"
}

build_with_sanitizers() {
    build_fuzzers "$fuzz/build" fuzzer-no-link,address,undefined ""
}

# Runs a target: a crash, a leak, a report of UBSan, 3 GiB of memory or two minutes for one input is a failure. What it used of the
# processor stands in a file. fuzz TARGET OPTION...
fuzz() {
    local target=$1 TIMEFORMAT='%U %S'
    shift
    mkdir -p "$fuzz/corpus/$target" "$fuzz/found"
    {
        time FUZZ_DIRECTORY=$scratch UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
            "$fuzz/build/tests/fuzz/fuzz_$target" -timeout=120 -rss_limit_mb=3072 -max_len=16384 -print_final_stats=1 \
            "-dict=$here/$target.dict" "-artifact_prefix=$fuzz/found/$target-" "$@" >"$fuzz/$target.log" 2>&1 </dev/null
    } 2>"$fuzz/$target.time"
}

# A number that libFuzzer says at its end.
stat_of() {
    grep -aoP "stat::$2: +\K\d+" "$fuzz/$1.log" || echo '?'
}

# Runs for each second of the processor: a busy machine does not make them fewer.
rate_of() {
    awk -v runs="$(stat_of "$1" number_of_executed_units)" '{ printf "%d", runs / ($1 + $2 + 0.001) }' "$fuzz/$1.time"
}

# report TARGET STATUS
report() {
    printf '%-8s %9s runs, %6s a second of CPU, %5s inputs kept%s\n' "$1" "$(stat_of "$1" number_of_executed_units)" \
        "$(rate_of "$1")" "$(find "$fuzz/corpus/$1" -type f | wc -l)" \
        "$([ "$2" -eq 0 ] || echo ": FAILED, see ${fuzz#"$root"/}/$1.log")"
    [ "$2" -eq 0 ] || grep -aE -A 30 'ERROR|does not hold|runtime error' "$fuzz/$1.log" | head -n 60
    return "$2"
}

fuzz_in_turn() {
    local target status failed=0
    for target in "${targets[@]}"; do
        status=0
        fuzz "$target" "-max_total_time=$seconds" "$fuzz/corpus/$target" "$here/seeds/$target" || status=1
        report "$target" "$status" || failed=1
    done
    return "$failed"
}

fuzz_together() {
    local target status failed=0
    local -A pids
    for target in "${targets[@]}"; do
        fuzz "$target" "-max_total_time=$seconds" "$fuzz/corpus/$target" "$here/seeds/$target" &
        pids[$target]=$!
    done
    for target in "${targets[@]}"; do
        status=0
        wait "${pids[$target]}" || status=1
        report "$target" "$status" || failed=1
    done
    return "$failed"
}

replay_seeds() {
    local target status failed=0
    for target in "${targets[@]}"; do
        status=0
        fuzz "$target" -runs=0 "$here/seeds/$target" || status=1
        report "$target" "$status" || failed=1
    done
    return "$failed"
}

# Edges alone count, not how often: else there would be thousands.
keep_seeds() {
    local target
    for target in "${targets[@]}"; do
        fuzz "$target" -merge=1 -use_counters=0 -max_len=4096 "$here/seeds/$target" "$fuzz/corpus/$target" ||
            fail "the inputs of $target could not be merged (${fuzz#"$root"/}/$target.log)"
        printf '%-8s %5s seeds, %8s bytes\n' "$target" "$(find "$here/seeds/$target" -type f | wc -l)" \
            "$(find "$here/seeds/$target" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }')"
    done
}

# Every input once, through a build that counts lines; "core/config.c 96.25" a line.
measure() {
    local target objects=() profiles=()
    for target in "${targets[@]}"; do
        mkdir -p "$fuzz/corpus/$target"
        profiles+=("$fuzz/$target.profraw")
        objects+=(-object "$fuzz/coverage/tests/fuzz/fuzz_$target")
        FUZZ_DIRECTORY=$scratch LLVM_PROFILE_FILE=$fuzz/$target.profraw "$fuzz/coverage/tests/fuzz/fuzz_$target" -runs=0 \
            "$here/seeds/$target" "$fuzz/corpus/$target" >"$fuzz/$target.coverage.log" 2>&1 </dev/null ||
            fail "fuzz_$target fails (${fuzz#"$root"/}/$target.coverage.log)"
    done
    llvm-profdata merge -o "$fuzz/all.profdata" "${profiles[@]}"
    llvm-cov report "${objects[@]:1}" -instr-profile="$fuzz/all.profdata" "$root/runtime/core" "$root/runtime/cli" |
        awk '$1 ~ /\.c$/ { sub(/%/, "", $10); print $1, $10 }'
}

# The files of tests/fuzz/coverage, each with what is covered, and the reason where that is not enough.
show_coverage() {
    measure >"$fuzz/lines"
    awk -v enough="$enough" '
        NR == FNR { covered[$1] = $2; next }
        /^#/ || !NF { next }
        {
            target = $1; file = $2; $1 = $2 = ""; sub(/^ +/, "")
            problem = !(file in covered) ? "is not there" : covered[file] < enough && $0 == "" ? "needs a test or a reason" : ""
            printf "%-8s %-28s %7s %%  %s\n", target, file, covered[file], problem != "" ? "FAILED: " problem : covered[file] < enough ? $0 : ""
            failed = failed || problem != ""
        }
        END { exit failed }' "$fuzz/lines" "$here/coverage"
}

mode=${1-}
case $mode in
--seeds | --coverage | --keep | --together) shift ;;
*) mode=--in-turn ;;
esac
seconds=20
if [[ ${1-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi
targets=("${@:-${all_targets[@]}}")

make_build_directory
install_packages "${packages_to_build[@]}" $(luajit_packages) "${packages_to_fuzz[@]}"
mkdir -p "$fuzz"
scratch=$(mktemp -d /dev/shm/forksafe-fuzzers-XXXXXX) # what a target that was aborted leaves
trap 'rm -rf "$scratch"' EXIT
case $mode in
--coverage) build_fuzzers "$fuzz/coverage" fuzzer-no-link "-fprofile-instr-generate -fcoverage-mapping" ;;
*) build_with_sanitizers ;;
esac
case $mode in
--in-turn) fuzz_in_turn ;;
--together) fuzz_together ;;
--seeds) replay_seeds ;;
--keep) keep_seeds ;;
--coverage) show_coverage ;;
esac
