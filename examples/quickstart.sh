#!/bin/bash
# SPDX-License-Identifier: MIT
#
# From a bare Debian 12 to a hook that ran in four workers: installs what building needs, builds, runs the example in
# examples/quickstart/ and shows what forksafe recorded. As root or with sudo; safe to run twice.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

ini=examples/quickstart/production.ini
forksafe=build/runtime/forksafe

show() {
    printf '\n$ %s\n' "$*"
    "$@" || fail "'$*' failed"
}

make_build_directory
read -ra luajit <<<"$(luajit_packages)"
install_packages "${packages_to_build[@]}" "${luajit[0]}"
build_forksafe -DFORKSAFE_UWSGI=OFF -DFORKSAFE_TESTS=OFF -DFORKSAFE_WERROR=OFF -DFORKSAFE_SANITIZE=

say "running examples/quickstart/hooks/postfork.lua in the workers of forksafe's own pre-forking server"
show $forksafe prefork --workers 4 --once $ini
say "the server has ended; what it recorded is still there"
show $forksafe debug --previous $ini
cat <<END

Try next:
  edit examples/quickstart/hooks/postfork.lua, and run this again
  $forksafe prefork --workers 4 $ini        (a server that stays; Ctrl-C ends it)
  $forksafe repl $ini                       (in another terminal: look around in what it records)
END
