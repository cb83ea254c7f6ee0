#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Everything that is tested, from a bare Debian 12: installs what is missing, builds, checks the sources, runs every spec.
# Its last line is "N passed, N failed". As root or with sudo; safe to run twice.
#   tests/run.sh             all of it; fewer tests than tests/count is a failure
#   tests/run.sh WORD...     the specs whose path has one of the words ("lint" stands for the source checks)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../examples/setup.sh"
cd "$root"

packages_for_servers=(uwsgi-core uwsgi-plugin-python3 gunicorn python3-pyramid
    python3-pastedeploy python3-plaster-pastedeploy)
packages_for_plugins=(libcap-dev libpcre3-dev libssl-dev uuid-dev zlib1g-dev) # what uwsgi.h includes
packages_for_tests=(lua-busted lua-posix lua-cjson lua-socket lua-filesystem
    liblua5.3-dev libjemalloc2 binutils git strace)
packages_for_lint=(lua-check clang-format clang-tidy cppcheck python3-pyflakes)

spec_seconds=300 # how long one spec file may take
options=(-DFORKSAFE_TESTS=ON -DFORKSAFE_UWSGI=ON -DFORKSAFE_PYTHON=ON -DFORKSAFE_WERROR=ON -DFORKSAFE_SANITIZE=)

passed=0
failed=0
words=("$@")

# However this ends, the last line tells how many.
finish() {
    local status=$?
    [ -z "${scratch-}" ] || as_root rm -rf "$scratch"
    if [ -z "${complete-}" ]; then
        failed=$((failed + 1))
    fi
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] || status=1
    exit "$status"
}

# Whether the words on the command line, if there are any, select this name.
selected() {
    local word
    [ ${#words[@]} -gt 0 ] || return 0
    for word in "${words[@]}"; do
        [[ $1 == *"$word"* ]] && return 0
    done
    return 1
}

# The project's files that match the patterns; of a checkout also those not yet added.
sources() {
    if git -c safe.directory='*' rev-parse --git-dir >/dev/null 2>&1; then
        git -c safe.directory='*' ls-files --cached --others --exclude-standard -- "$@" | sort -u |
            while read -r file; do [ ! -e "$file" ] || printf '%s\n' "$file"; done
    else
        local pattern
        for pattern in "$@"; do
            find . -path ./build -prune -o -path "./$pattern" -print -o -name "${pattern##*/}" -print
        done | sed 's,^\./,,' | sort -u
    fi
}

# One check of the sources: it counts as a test. check NAME COMMAND...
check() {
    local name=$1
    shift
    if "$@" >"$scratch/check" 2>&1 </dev/null; then
        printf 'ok      %s\n' "$name"
        passed=$((passed + 1))
    else
        printf 'FAILED  %s\n' "$name"
        head -n 200 "$scratch/check" | sed 's/^/        /'
        failed=$((failed + 1))
    fi
}

# Runs a command for each file named on standard input; all of them, then fails if one did.
for_each() {
    local file status=0
    while read -r file; do
        "$@" "$file" || status=1
    done
    return $status
}

is_formatted() {
    clang-format --dry-run -Werror "$1" 2>/dev/null || { echo "clang-format -i $1" && return 1; }
}
format_c() { sources '*.c' '*.h' | for_each is_formatted; }
lint_lua() { sources 'lua/*.lua' 'tests/*.lua' 'examples/*.lua' | xargs luacheck --quiet --codes --no-color; }
lint_shell() { sources '*.sh' .ci/run | for_each bash -n; }
lint_python() { # an example's imports are there for its server
    sources 'adapters/*.py' 'tests/*.py' | xargs -r /usr/bin/python3 -m pyflakes &&
        sources 'examples/*.py' |
        xargs -r /usr/bin/python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]'
}
analyse_c() {
    sources 'runtime/*.c' 'adapters/*.c' 'tests/*.c' |
        xargs cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
            --enable=warning,performance,portability --suppress=missingIncludeSystem \
            -D_GNU_SOURCE "-D__$(uname -m)__" -I runtime/include -I runtime -I runtime/cli
}
tidy_c() {
    sources 'runtime/*.c' 'adapters/prefork/*.c' |
        xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" 2> >(grep -v ' generated\.$' >&2)
}

check_sources() {
    selected lint || return 0
    say "checking the sources"
    check "the C sources are formatted (clang-format)" format_c
    check "the Lua sources have no warning (luacheck)" lint_lua
    check "the shell scripts parse (bash -n)" lint_shell
    check "the Python sources have no warning (pyflakes)" lint_python
    check "cppcheck finds nothing" analyse_c
    check "clang-tidy finds nothing" tidy_c
}

# One spec file in a busted of its own, bounded in time, as root: servers under test change their user.
run_spec() {
    local spec=$1 status=0 result
    printf '\n%s\n' "$spec"
    rm -f "$scratch/result"
    as_root env TMPDIR="$scratch" FORKSAFE_BUILD="$build" FORKSAFE_TEST_RESULT="$scratch/result" \
        PATH="$PATH" LC_ALL="$LC_ALL" timeout --foreground -k 10 "$spec_seconds" \
        /usr/bin/luajit /usr/bin/busted --output=support.report "$spec" </dev/null || status=$?
    if [ ! -s "$scratch/result" ]; then
        printf 'FAILED  %s ended with status %d before its end%s\n' "$spec" "$status" \
            "$([ "$status" -ne 124 ] || echo " (it took longer than $spec_seconds s)")"
        failed=$((failed + 1))
        return
    fi
    read -ra result <"$scratch/result"
    passed=$((passed + result[0]))
    failed=$((failed + result[1]))
}

run_specs() {
    local spec specs=()
    for spec in tests/spec/*_spec.lua tests/containers/*_spec.lua; do
        [ -e "$spec" ] && selected "$spec" && specs+=("$spec")
    done
    if [ ${#specs[@]} -eq 0 ]; then
        selected lint && return
        fail "no spec in tests/spec or tests/containers has '${words[*]}' in its name"
    fi
    say "running ${#specs[@]} spec files"
    for spec in "${specs[@]}"; do
        run_spec "$spec"
    done
}

compare_count() {
    local count
    [ ${#words[@]} -eq 0 ] || return 0
    count=$(<tests/count)
    if [ $((passed + failed)) -lt "$count" ]; then
        say "only $((passed + failed)) tests ran: tests/count says that there are $count"
        failed=$((failed + 1))
    elif [ $((passed + failed)) -gt "$count" ]; then
        say "more tests ran than tests/count says ($count): write $((passed + failed)) into it"
    fi
}

trap finish EXIT
make_build_directory
read -ra luajit <<<"$(luajit_packages)"
install_packages "${packages_to_build[@]}" "${luajit[@]}" "${packages_for_servers[@]}" \
    "${packages_for_plugins[@]}" "${packages_for_tests[@]}" "${packages_for_lint[@]}"
need_root "to run the servers under test"
build_forksafe "${options[@]}"
scratch=$(mktemp -d)
chmod 755 "$scratch" # servers under test change their user
check_sources
run_specs
echo
compare_count
complete=yes
