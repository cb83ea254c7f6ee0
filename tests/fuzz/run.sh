#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fuzzes the ini loader, the journal's reader, the script loader with the VM, and the HTTP side, with libFuzzer under ASan and UBSan;
# prints a line a target. What is found stands in build/fuzz/found/; inputs worth keeping in build/fuzz/corpus/.
#   tests/fuzz/run.sh [SECONDS]               each target for so long (20)
#   tests/fuzz/run.sh --coverage [SECONDS]    then the lines covered of each source file, by all inputs kept
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"

targets=(ini journal script http)
packages_to_fuzz=(clang libclang-rt-14-dev llvm)
coverage=
if [ "${1-}" = --coverage ]; then
    coverage=yes
    shift
fi
seconds=${1-20}
fuzz=$build/fuzz
sources=$root/tests/fuzz

# build_fuzzers DIRECTORY SANITIZERS FLAGS
build_fuzzers() {
    mkdir -p "$1"
    CC=clang logged "$1/configure.log" "cmake could not configure" \
        cmake -S "$root" -B "$1" -G Ninja -DFORKSAFE_FUZZ=ON "-DFORKSAFE_SANITIZE=$2" "-DCMAKE_C_FLAGS=$3" \
        -DFORKSAFE_UWSGI=OFF -DFORKSAFE_NGINX=OFF -DFORKSAFE_APACHE=OFF -DFORKSAFE_RUBY=OFF -DFORKSAFE_PYTHON=OFF
    logged "$1/build.log" "the fuzzers cannot be built" cmake --build "$1" --target "${targets[@]/#/fuzz_}"
}

# Runs one target. A crash, a leak, a time-out of 10 s or 3 GiB of memory is a failure, and its input is kept.
fuzz_one() {
    local target=$1 log=$fuzz/$1.log status=0
    mkdir -p "$fuzz/corpus/$target" "$fuzz/found"
    "$fuzz/build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=3072 -max_len=16384 \
        -print_final_stats=1 -artifact_prefix="$fuzz/found/$target-" \
        "$fuzz/corpus/$target" "$sources/seeds/$target" >"$log" 2>&1 </dev/null || status=1
    printf '%-8s %9s runs, %6s a second, %5s inputs kept%s\n' "$target" \
        "$(grep -aoP 'stat::number_of_executed_units: +\K\d+' "$log" || echo '?')" \
        "$(grep -aoP 'stat::average_exec_per_sec: +\K\d+' "$log" || echo '?')" \
        "$(find "$fuzz/corpus/$target" -type f | wc -l)" "$([ "$status" -eq 0 ] || echo ": FAILED, see below")"
    [ "$status" -eq 0 ] || grep -aE -A 30 'ERROR|does not hold|runtime error' "$log" | head -n 60
    return "$status"
}

# Every input kept, once, through a build that counts lines; then a table of files.
show_coverage() {
    local target objects=()
    build_fuzzers "$fuzz/coverage" fuzzer-no-link "-fprofile-instr-generate -fcoverage-mapping"
    for target in "${targets[@]}"; do
        objects+=(-object "$fuzz/coverage/tests/fuzz/fuzz_$target")
        LLVM_PROFILE_FILE=$fuzz/$target.profraw "$fuzz/coverage/tests/fuzz/fuzz_$target" -runs=0 \
            "$fuzz/corpus/$target" "$sources/seeds/$target" >"$fuzz/$target.coverage.log" 2>&1 </dev/null || true
    done
    llvm-profdata merge -o "$fuzz/all.profdata" "${targets[@]/%/.profraw}"
    llvm-cov report "${objects[@]:1}" -instr-profile="$fuzz/all.profdata" "$root/runtime/core" "$root/runtime/cli" |
        awk 'NR == 1 { print "lines covered" } $1 ~ /\.c$/ && $10 != "0.00%" { printf "%-32s %s\n", $1, $10 }'
}

make_build_directory
install_packages "${packages_to_build[@]}" $(luajit_packages) "${packages_to_fuzz[@]}"
say "building the fuzzers in ${fuzz#"$root"/}/"
build_fuzzers "$fuzz/build" fuzzer-no-link,address,undefined ""
failed=0
for target in "${targets[@]}"; do
    fuzz_one "$target" || failed=1
done
if [ -n "$coverage" ]; then
    cd "$fuzz"
    show_coverage
fi
exit "$failed"
