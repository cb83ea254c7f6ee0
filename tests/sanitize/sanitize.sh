# SPDX-License-Identifier: MIT
#
# What tests/run.sh --sanitize KIND does otherwise: a build of its own, an environment for the specs, and reports that fail the run.
# Sourced by tests/run.sh, after examples/setup.sh. Which specs cannot run so, and why, stands in tests/sanitize/cannot.
#   address   ASan and UBSan. Their runtimes are preloaded into every process, also into the servers, which are not instrumented.
#   thread    TSan, in the programs that are built here: it has to be in a program from its start.
#   valgrind  memcheck around the same programs, as they are shipped.

packages_for_sanitize=(valgrind)

# These look for leaks at their end. Servers and interpreters have their own, and are not looked at.
leak_checked=(forksafe forksafe-doctor fork_hook forker reentrancy_host counting_host busy_host inert_host quiet_host fill_journal)
# These are run under memcheck, by their path in the build directory.
memchecked=(runtime/forksafe runtime/forksafe-doctor tests/fork_hook tests/forker tests/reentrancy_host tests/fill_journal
    tests/promises/counting_host tests/promises/busy_host tests/promises/quiet_host)

case $sanitize in
address)
    sanitize_build=$root/build/asan
    sanitize_flags=address,undefined
    ;;
thread)
    sanitize_build=$root/build/tsan
    sanitize_flags=thread
    ;;
valgrind)
    sanitize_build=$root/build/valgrind
    sanitize_flags=
    ;;
*) fail "--sanitize address, thread or valgrind" ;;
esac
build=$sanitize_build
options+=("-DFORKSAFE_SANITIZE=$sanitize_flags" -DFORKSAFE_WERROR=OFF) # -Wformat-truncation and others see less there

# A runtime of the compiler's, by the file that it is.
runtime_of() {
    readlink -f "$(gcc -print-file-name="lib$1.so")"
}

# Options of ASan for programs of this name: "include_if_exists" reads them. look_for_leaks DIRECTORY 0 or 1
look_for_leaks() {
    local name
    mkdir -p "$1/options"
    for name in "${leak_checked[@]}"; do
        echo "detect_leaks=$2" >"$1/options/$name"
    done
    chmod -R a+rX "$1/options"
}

# Programs in a directory that looks like the build's, each as a script that starts memcheck with the real one.
wrap_in_memcheck() {
    local wrapped=$sanitize_build/memcheck program entry
    rm -rf "$wrapped"
    cp -as "$build" "$wrapped.new" # links to everything
    mv "$wrapped.new" "$wrapped"
    for program in "${memchecked[@]}"; do
        rm -f "$wrapped/$program"
        cat >"$wrapped/$program" <<EOF
#!/bin/sh
exec valgrind -q --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite --num-callers=30 \\
    --suppressions=$root/tests/sanitize/valgrind.supp --log-file="\$FORKSAFE_REPORTS/%p" $build/$program "\$@"
EOF
        chmod 755 "$wrapped/$program"
    done
    build=$wrapped
}

# What a spec finds in its environment, as words for env(1): reports are written into a directory of its own.
set_environment() {
    local place=$1 reports=$1/reports log
    mkdir -p "$reports"
    chmod 1777 "$reports" # servers under test change their user
    log="log_path=$reports/$sanitize:log_exe_name=1"
    case $sanitize in
    address)
        sanitize_environment=(
            "LD_PRELOAD=$(runtime_of asan):$(runtime_of ubsan):$build/tests/libundefined-log.so"
            "ASAN_OPTIONS=$log:detect_leaks=0:use_sigaltstack=0:verify_asan_link_order=0:allocator_may_return_null=1:quarantine_size_mb=16:suppressions=$root/tests/sanitize/address.supp:include_if_exists=$place/options/%b"
            "UBSAN_OPTIONS=log_path=$reports/undefined:log_exe_name=1:halt_on_error=1:print_stacktrace=1"
            "LD_LIBRARY_PATH=$build/runtime" # dlopen() is ASan's: it does not look where the object that calls it wants
            "LSAN_OPTIONS=suppressions=$root/tests/sanitize/leaks.supp:print_suppressions=0")
        ;;
    thread)
        sanitize_environment=("TSAN_OPTIONS=$log:halt_on_error=1:die_after_fork=0:suppressions=$root/tests/sanitize/thread.supp:print_suppressions=0")
        ;;
    valgrind) sanitize_environment=("FORKSAFE_REPORTS=$reports") ;;
    esac
}

# What tests/sanitize/cannot says of a spec: tests that are left out as sanitize_left_out (options of busted), whether leaks are
# looked for. Fails where the whole spec is left out. can_follow SPEC DIRECTORY
can_follow() {
    local kind spec tests why leaks=1
    sanitize_left_out=()
    while IFS='|' read -r kind spec tests why; do
        read -r kind <<<"$kind"
        read -r spec <<<"$spec"
        read -r tests <<<"$tests"
        [[ $kind == "$sanitize" || $kind == any ]] && [[ $1 == tests/$spec ]] || continue
        case $tests in
        -) break ;;
        '*') printf 'left out: %s (%s)\n' "$1" "${why# }" && return 1 ;;
        leaks) leaks=0 ;;
        *) sanitize_left_out+=("--filter-out=$tests") ;;
        esac
    done < <(grep -v '^#' tests/sanitize/cannot)
    look_for_leaks "$2" "$leaks"
    set_environment "$2"
}

# After each spec: every report is a failure, whoever made it, and is kept in the build directory. collect_reports SPEC DIRECTORY
collect_reports() {
    local report kept=$sanitize_build/reports
    mkdir -p "$kept"
    for report in "$2"/reports/*; do
        [ -s "$report" ] || { rm -f "$report" && continue; }
        printf 'REPORT  %s: %s\n' "$1" "${report##*/}"
        head -n 40 "$report" | sed 's/^/        /'
        echo "0 1" >>"$2/result.reports"
        mv -f "$report" "$kept/"
    done
}
