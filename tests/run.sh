#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Everything that is tested, from a bare Debian 12: installs what is missing, builds, checks the sources, runs every spec.
# Its last line is "N passed, N failed". As root or with sudo; safe to run twice.
#   tests/run.sh             all of it; fewer tests than tests/count is a failure
#   tests/run.sh WORD...     the specs whose path has one of the words ("lint" stands for the source checks)
#   tests/run.sh --newest    what of the two is asked for, and the specs of tests/newest too: with the newest of PyPI
#                            instead of Debian's, in a virtual environment; an index that cannot be reached is a failure
#   tests/run.sh --long      the promises (tests/promises) alone, with their full numbers
#   tests/run.sh --guards [N...]  their short form in a build whose guards can be switched off: with switch N off exactly
#                            promise N's tests must fail
#   tests/run.sh --sanitize KIND [WORD...]  under address (ASan and UBSan), thread (TSan) or valgrind, in a build of its own;
#                            any report is a failure; tests/sanitize/cannot has what is left out, and why
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../examples/setup.sh"
cd "$root"
. tests/support/places.sh

packages_for_servers=(uwsgi-core uwsgi-plugin-python3 python3-uwsgidecorators gunicorn nginx python3-pyramid
    python3-pastedeploy python3-plaster-pastedeploy python3-django python3-django-debug-toolbar)
packages_for_plugins=(libcap-dev libpcre3-dev libssl-dev uuid-dev zlib1g-dev # what uwsgi.h includes
    nginx-dev)
packages_for_apache=(apache2-bin apache2-dev)
packages_for_ruby=(puma unicorn)
packages_for_celery=(celery redis-server python3-redis python3-gevent python3-eventlet)
packages_for_preload=(php8.2-fpm libfcgi-bin postgresql-15 postgresql-client-15)
packages_for_bridges=(libpython3.11 ruby puma openssl postgresql-15 ruby-pg ruby-activerecord python3-sqlalchemy python3-psycopg2 python3-pymongo
    python3-pycryptodome python3-confluent-kafka)
packages_for_promises=(libnginx-mod-http-lua haproxy)
packages_for_tests=(lua-busted lua-posix lua-cjson lua-socket lua-filesystem
    liblua5.3-dev libjemalloc2 binutils git strace)
packages_for_page=(chromium fonts-dejavu-core nodejs) # and npm, where no other one is there
playwright=playwright-core@1.60.0                    # of npm: drives the browser that is installed
packages_for_metrics=(prometheus python3-prometheus-client python3-jsonschema)
packages_for_lint=(lua-check clang-format clang-tidy cppcheck python3-pyflakes)
packages_for_fuzz=(clang libclang-rt-14-dev llvm) # tests/fuzz/run.sh
packages_for_newest=(python3-venv python3-dev) # uWSGI of PyPI is built here
newest_from_pypi=(uwsgi gunicorn 'celery[redis]' gevent eventlet pyramid-debugtoolbar pyramid-forksafe django django-debug-toolbar) # newer than what Debian has of them

spec_seconds=600          # how long one spec file may take
at_once=$(($(nproc) + 1)) # spec files that run beside each other: they wait for servers, most of the time
options=(-DFORKSAFE_TESTS=ON -DFORKSAFE_UWSGI=ON -DFORKSAFE_PYTHON=ON -DFORKSAFE_RUBY=ON -DFORKSAFE_NGINX=ON -DFORKSAFE_APACHE=ON -DFORKSAFE_WERROR=ON -DFORKSAFE_SANITIZE=)

passed=0
failed=0
tasks=0
newest=
long=
guards=
sanitize=
sanitize_environment=()
sanitize_left_out=()
if [ "${1-}" = --newest ]; then
    newest=yes
    shift
elif [ "${1-}" = --long ]; then
    long=yes
    spec_seconds=3000
    shift
elif [ "${1-}" = --sanitize ]; then
    sanitize=${2-}
    spec_seconds=3000
    . tests/sanitize/sanitize.sh
    shift 2
elif [ "${1-}" = --guards ]; then
    guards=yes
    . tests/promises/guards.sh
    shift
    switches=("$@")
    set --
fi
words=("$@")

# However this ends, the last line tells how many.
finish() {
    local status=$?
    end_started
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
    sources 'runtime/*.py' 'adapters/*.py' 'tests/*.py' | xargs -r /usr/bin/python3 -m pyflakes &&
        sources 'examples/*.py' |
        xargs -r /usr/bin/python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]'
}
has_no_ruby_warning() { ! ruby -wc "$1" 2>&1 | grep -v '^Syntax OK$'; }
lint_ruby() { sources 'runtime/*.rb' 'adapters/*.rb' 'adapters/*.gemspec' 'tests/*.rb' 'tests/*.ru' | for_each has_no_ruby_warning; }
analyse_c() { # other systems' headers are not here, and what is tested on this one does not need them
    sources 'runtime/*.c' 'adapters/*.c' 'tests/*.c' |
        xargs cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
            --enable=warning,performance,portability --suppress=missingIncludeSystem \
            -D_GNU_SOURCE "-D__$(uname -m)__" -I runtime/include -I runtime -I runtime/cli
}
tidy_c() { # some warnings are GCC's alone. Not the fuzzers: tests/fuzz/run.sh builds them, with flags that are not in this build
    sources 'runtime/*.c' 'adapters/*.c' 'tests/*.c' | grep -v '^tests/fuzz/' |
        xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option \
            "--extra-arg=-I$(pkg-config --variable=includedir luajit)" 2> >(grep -v ' generated\.$' >&2)
}

check_sources() {
    [ -z "$long$sanitize$guards" ] && selected lint || return 0
    say "checking the sources"
    check "the C sources are formatted (clang-format)" format_c
    check "the Lua sources have no warning (luacheck)" lint_lua
    check "the shell scripts parse (bash -n)" lint_shell
    check "the Python sources have no warning (pyflakes)" lint_python
    check "the Ruby sources have no warning (ruby -wc)" lint_ruby
    check "cppcheck finds nothing" analyse_c
    check "clang-tidy finds nothing" tidy_c
}

# One spec file in a busted of its own, bounded in time, as root: servers under test change their user. What it is worth goes to the
# file "result" of a directory of its own: "PASSED FAILED". run_spec SPEC DIRECTORY
run_spec() {
    local spec=$1 place=$2 status=0
    mkdir -p "$place" && chmod 755 "$place"
    printf '\n%s\n' "$spec"
    if [ -n "$sanitize" ]; then
        can_follow "$spec" "$place" || { echo "0 0" >"$place/result" && return; }
    fi
    apart env TMPDIR="$scratch" FORKSAFE_BUILD="$build" FORKSAFE_TEST_RESULT="$place/result" \
        FORKSAFE_LONG="${long:+1}" FORKSAFE_PROMISES="$scratch/promises" \
        PATH="$PATH" LC_ALL="$LC_ALL" timeout --foreground -k 10 "$spec_seconds" \
        env "${sanitize_environment[@]}" /usr/bin/luajit /usr/bin/busted --output=support.report "${sanitize_left_out[@]}" "$spec" \
        </dev/null || status=$?
    if [ ! -s "$place/result" ]; then
        printf 'FAILED  %s ended with status %d before its end%s\n' "$spec" "$status" \
            "$([ "$status" -ne 124 ] || echo " (it took longer than $spec_seconds s)")"
        rm -f "$place/result" # root's
        echo "0 1" >"$place/result"
    fi
    [ -z "$sanitize" ] || collect_reports "$spec" "$place"
}

# Where nodejs is not Debian's, npm came with it, and Debian's excludes it.
npm_packages() {
    command -v npm >/dev/null || echo npm
}

# What drives the browser of page_spec.lua, where it is not there in this version.
install_playwright() {
    local here=$build/npm/node_modules/playwright-core/package.json
    [ -z "$sanitize$guards" ] && selected tests/spec/page_spec.lua || return 0
    ! grep -qsF "\"version\": \"${playwright##*@}\"" "$here" || return 0
    say "installing $playwright from npm into build/npm/"
    mkdir -p "$build/npm"
    logged "$build/npm.log" "npm does not give $playwright" npm install --prefix "$build/npm" --cache "$build/npm/cache" \
        --no-save --no-audit --no-fund --ignore-scripts "$playwright"
}

# A new virtual environment over Debian's packages: one that is there already would hide that the index cannot be reached.
make_newest() {
    local venv=$build/venv-newest
    say "installing from PyPI into ${venv#"$root"/}/: ${newest_from_pypi[*]}"
    rm -rf "$venv"
    logged "$build/venv.log" "the virtual environment could not be made" \
        /usr/bin/python3 -m venv --system-site-packages "$venv"
    logged "$build/pypi.log" "PyPI does not give ${newest_from_pypi[*]}" \
        "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --upgrade "${newest_from_pypi[@]}"
    compare_versions "$venv/bin/python"
    ! selected tests/newest/uwsgi_spec.lua || build_for_newest_uwsgi "$venv/bin/uwsgi"
}

# A uWSGI plugin belongs to the very uWSGI that it was built for.
build_for_newest_uwsgi() {
    local there=$build/newest
    say "building for ${1#"$root"/} in ${there#"$root"/}/"
    logged "$build/newest.log" "cmake could not configure for uWSGI of PyPI" \
        cmake --fresh -S "$root" -B "$there" -G Ninja "${options[@]}" -DFORKSAFE_TESTS=OFF -DFORKSAFE_NGINX=OFF \
        -DFORKSAFE_APACHE=OFF -DFORKSAFE_UWSGI_COMMAND="$1"
    logged "$build/newest.log" "the build for uWSGI of PyPI failed" cmake --build "$there"
}

# The version that an interpreter has of a package of PyPI; nothing if it has none.
version_of() {
    "$1" -c 'import sys, importlib.metadata as m
try: print(m.version(sys.argv[1]))
except m.PackageNotFoundError: pass' "$2"
}

# Debian's version of it. Its uWSGI is no package of Python.
debian_version_of() {
    if [ "$1" = uwsgi ]; then
        dpkg-query --show --showformat='${Version}' uwsgi-core
    else
        version_of /usr/bin/python3 "$1"
    fi
}

compare_versions() {
    local python=$1 package ours theirs
    for package in "${newest_from_pypi[@]%%[*}"; do
        ours=$(version_of "$python" "$package")
        theirs=$(debian_version_of "$package")
        say "$package $ours of PyPI (Debian: ${theirs:-none})"
        dpkg --compare-versions "${ours:-0}" gt "${theirs:-0}" || fail "$package of PyPI is not newer than Debian's"
    done
}

# The spec files of these directories that the words select.
specs_in() {
    local directory spec
    for directory in "$@"; do
        for spec in "$directory"/*_spec.lua; do
            if [ -e "$spec" ] && selected "$spec"; then
                printf '%s\n' "$spec"
            fi
        done
    done
}

# Adds up what is told of a spec file: "PASSED FAILED" a line.
add_results() {
    local result
    while read -ra result; do
        passed=$((passed + result[0]))
        failed=$((failed + result[1]))
    done
}

run_specs() {
    local spec number=$tasks
    [ $# -gt 0 ] || return 0
    say "running $# spec files, $at_once at a time"
    for spec in "$@"; do
        tasks=$((tasks + 1))
        start "$tasks" run_spec "$spec" "$scratch/$tasks"
    done
    for spec in "$@"; do
        number=$((number + 1))
        follow "$number"
        add_results < <(cat "$scratch/$number/result"* || echo "0 1")
    done
}

# After all others: where the index cannot be reached, it is known how they went.
run_newest_specs() {
    [ $# -gt 0 ] || return 0
    echo
    make_newest
    run_specs "$@"
}

# The table of promises and containers, as far as their tests ran. In the long form an empty cell is a failure.
print_promises() {
    [ -s "$scratch/promises" ] || return 0
    echo
    if ! (cd tests && /usr/bin/luajit -e 'os.exit(require("support.promises").print(io.stdin) == 0)' <"$scratch/promises") &&
        [ -n "$long" ] && [ ${#words[@]} -eq 0 ]; then
        say "the table of promises has empty cells"
        failed=$((failed + 1))
    fi
}

compare_count() {
    local counts=tests/count count
    [ ${#words[@]} -eq 0 ] && [ -z "$long$sanitize$guards" ] || return 0
    count=$(<tests/count)
    if [ -n "$newest" ]; then
        counts="tests/count and tests/newest/count"
        count=$((count + $(<tests/newest/count)))
    fi
    if [ $((passed + failed)) -lt "$count" ]; then
        say "only $((passed + failed)) tests ran: $counts says that there are $count"
        failed=$((failed + 1))
    elif [ $((passed + failed)) -gt "$count" ]; then
        say "more tests ran than $counts says ($count): $((passed + failed)); write it there"
    fi
}

trap finish EXIT
mapfile -t specs < <(if [ -n "$long$guards" ]; then specs_in tests/promises; else specs_in tests/spec tests/containers tests/promises; fi)
mapfile -t newest_specs < <([ -z "$newest" ] || specs_in tests/newest)
if [ ${#specs[@]} -eq 0 ] && [ ${#newest_specs[@]} -eq 0 ] && ! selected lint; then
    fail "no spec in tests/spec, tests/containers, tests/promises${newest:+, tests/newest} has '${words[*]}' in its name"
fi
make_build_directory
read -ra luajit <<<"$(luajit_packages)"
read -ra npm <<<"$(npm_packages)"
install_packages "${packages_to_build[@]}" "${luajit[@]}" "${packages_for_servers[@]}" \
    "${packages_for_plugins[@]}" "${packages_for_apache[@]}" "${packages_for_preload[@]}" "${packages_for_celery[@]}" "${packages_for_ruby[@]}" "${packages_for_bridges[@]}" "${packages_for_tests[@]}" "${packages_for_promises[@]}" "${packages_for_metrics[@]}" "${packages_for_lint[@]}" "${packages_for_fuzz[@]}" \
    "${packages_for_page[@]}" "${npm[@]}" \
    ${newest:+"${packages_for_newest[@]}"} ${sanitize:+"${packages_for_sanitize[@]}"}
need_root "to run the servers under test"
build_forksafe "${options[@]}"
install_playwright
scratch=$(mktemp -d)
chmod 755 "$scratch" # servers under test change their user
open_places "$at_once"
[ "$sanitize" != valgrind ] || wrap_in_memcheck
check_sources
run_specs "${specs[@]}"
run_newest_specs "${newest_specs[@]}"
print_promises
[ -z "$guards" ] || run_switches "${switches[@]}"
echo
compare_count
complete=yes
