# SPDX-License-Identifier: MIT
#
# What examples/quickstart.sh and tests/run.sh share: saying what is done, installing what is missing with apt, and
# building into ./build. Sourced by them (bash, set -euo pipefail); runs nothing by itself.

# Debian's own programs, whatever else this user has on the PATH (another python, another lua).
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH LC_ALL=C.UTF-8
unset LANGUAGE LUA_PATH LUA_CPATH LUA_INIT PYTHONPATH PYTHONHOME VIRTUAL_ENV FORKSAFE FORKSAFE_INI

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$root/build

packages_to_build=(gcc libc6-dev cmake ninja-build pkg-config
    libuv1-dev libinih-dev libjansson-dev libedit-dev libsmartcols-dev libmicrohttpd-dev)

say() {
    printf '==> %s\n' "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Says what root is needed for, and fails where it cannot be had. Asks for sudo's password, if it has to, here.
need_root() {
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null || fail "root is needed $1: start this as root, or install sudo"
    sudo -v || fail "root is needed $1, and sudo refuses"
}

# Runs a command as root, through sudo where this user is not root; need_root comes first.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Runs a command with its output in a log file; shows the log only if it fails. logged LOG "sentence" COMMAND...
logged() {
    local log=$1 sentence=$2
    shift 2
    "$@" >"$log" 2>&1 </dev/null && return
    tail -n 100 "$log" >&2
    fail "$sentence (above: the end of ${log#"$root"/})"
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Debian has two LuaJITs that exclude each other. Either will do: the one that is here stays.
luajit_packages() {
    if installed libluajit-5.1-2; then
        echo libluajit-5.1-dev luajit
    else
        echo libluajit2-5.1-dev luajit2
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -q -y \
        -o Dpkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@"
}

# Installs those packages that are not installed. Removes none.
install_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || fail "this needs Debian 12 (there is no dpkg-query here)"
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        say "all $# packages are installed"
        return
    fi
    need_root "to install packages (${missing[*]})"
    say "installing ${#missing[@]} packages with apt: ${missing[*]}"
    logged "$build/apt.log" "apt-get update failed" apt_get update
    logged "$build/apt.log" "apt-get install failed" \
        apt_get install --no-install-recommends --no-remove "${missing[@]}"
}

make_build_directory() {
    mkdir -p "$build" && [ -w "$build" ] ||
        fail "$build cannot be written by $(id -un): remove it, or run this as its owner"
}

# A build directory that came from another place or another generator cannot be gone on with.
leftover_build() {
    local cache=$build/CMakeCache.txt
    [ -e "$cache" ] || return 1
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache" ||
        ! grep -qxF "CMAKE_GENERATOR:INTERNAL=Ninja" "$cache"
}

# Configures and builds: build_forksafe OPTION...
build_forksafe() {
    local fresh=()
    if leftover_build; then
        say "build/ belongs to another tree or generator: configuring afresh"
        fresh=(--fresh)
    fi
    say "configuring in ${build#"$root"/}/"
    logged "$build/configure.log" "cmake could not configure" \
        cmake "${fresh[@]}" -S "$root" -B "$build" -G Ninja "$@"
    say "building"
    logged "$build/build.log" "the build failed" cmake --build "$build"
}
