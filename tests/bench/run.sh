#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The figures of forksafe beside what people would use instead: sets up the peers (pyramid_forksafe from PyPI, with its prints removed, and
# lua-nginx-module, lsof, luajit from Debian), builds ./build, measures everything interleaved, prints one table and writes result.json and
# growth.svg here. About six minutes on a machine that does nothing else. tests/bench/README.md has the last run.
#   tests/bench/run.sh              all rows
#   tests/bench/run.sh --quick      all of them with few rounds, under a minute or two; writes nothing here
#   tests/bench/run.sh --only 1,3   these rows; likewise
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../examples/setup.sh"
cd "$root"

packages_for_peers=(libnginx-mod-http-lua lsof strace valgrind python3-venv python3-pyramid uwsgi-core uwsgi-plugin-python3
    python3-uwsgidecorators gunicorn nginx)
peer=pyramid_forksafe==0.2.0
venv=$build/venv-bench
result=tests/bench/result.json
plot=tests/bench/growth.svg

scratch=$(mktemp -d /dev/shm/forksafe-bench-XXXXXX) # tmpfs, as /run is
trap 'rm -rf "$scratch"' EXIT
if [ $# -gt 0 ]; then
    result=$scratch/result.json
    plot=$scratch/growth.svg
fi

# The peer as its users have it, but for the three prints that would be most of its time.
make_peer() {
    local python=$venv/bin/python packages
    if ! "$python" -c 'import pyramid_forksafe' 2>/dev/null; then
        say "installing $peer from PyPI into ${venv#"$root"/}/"
        rm -rf "$venv"
        logged "$build/venv.log" "the virtual environment could not be made" \
            /usr/bin/python3 -m venv --system-site-packages "$venv"
        logged "$build/pypi.log" "PyPI does not give $peer" \
            "$python" -m pip install --no-input --disable-pip-version-check --no-deps "$peer"
    fi
    packages=$("$python" -c 'import os, pyramid_forksafe as p; print(os.path.dirname(os.path.dirname(p.__file__)))')
    sed -i '/^ *print("Application/d' "$packages/pyramid_forksafe/events.py"
    site_packages=$packages
}

# What is measured with, beside the build.
compile() {
    local flags=(-std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wl,-z,now -I runtime/include)
    local library=(-L "$build/runtime" -lforksafe "-Wl,-rpath,$build/runtime")
    cc "${flags[@]}" -shared -fPIC -o "$scratch/emit_timed.so" tests/bench/emit_timed.c "${library[@]}"
    # shellcheck disable=SC2046 # several words
    cc "${flags[@]}" -o "$scratch/lua_pcall" tests/bench/lua_pcall.c $(pkg-config --cflags --libs luajit)
    # shellcheck disable=SC2046 # likewise
    cc "${flags[@]}" -o "$scratch/fork_floor" tests/bench/fork_floor.c $(pkg-config --cflags luajit)
    cc "${flags[@]}" -o "$scratch/doctor_tree" tests/bench/doctor_tree.c
    cc "${flags[@]}" -o "$scratch/plain_forks" tests/bench/plain_forks.c
    cc "${flags[@]}" -o "$scratch/counts" tests/bench/counts.c
    cc "${flags[@]}" -o "$scratch/floor" tests/bench/floor.c
    cc "${flags[@]}" -o "$scratch/audit" tests/bench/audit.c "${library[@]}"
}

make_build_directory
install_packages "${packages_to_build[@]}" $(luajit_packages) "${packages_for_peers[@]}"
if [ -z "${FORKSAFE_BENCH_BUILD-}" ]; then
    build_forksafe -DFORKSAFE_TESTS=ON -DFORKSAFE_SANITIZE=
fi
make_peer
build=${FORKSAFE_BENCH_BUILD:-$build} # measured instead of ./build
compile
say "measuring"
/usr/bin/python3 tests/bench/rows.py "$build" "$scratch" "$site_packages" "$result" "$plot" "$@"
