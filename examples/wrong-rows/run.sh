#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The same Puma twice, on the database of DATABASE_URL (port 5432): without a hook, and with hooks/postfork.lua. 200 requests each, 8 at a
# time. Needs a build (examples/quickstart.sh), Puma and ruby-pg.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
: "${DATABASE_URL:?is not set: postgresql://user@127.0.0.1:5432/database}"
export RUBYLIB=${RUBYLIB-../../build/ruby/lib}
port=9292

# arm NAME FORKSAFE
arm() {
    FORKSAFE=$2 puma --quiet --config puma.rb --bind "tcp://127.0.0.1:$port" config.ru >"/tmp/forksafe-wrong-rows-$$" 2>&1 &
    local puma=$!
    for _ in $(seq 100); do
        [ "$(pgrep --count --parent "$puma" || true)" -lt 3 ] || break
        sleep 0.1
    done
    sleep 1
    printf '%s: ' "$1"
    /usr/bin/python3 load.py "$port" 200 8 10 | /usr/bin/python3 -c \
        'import json, sys; c = json.load(sys.stdin); print("%(right)d right, %(wrong)d wrong (HTTP 200), %(failed)d failed, %(hung)d hung" % c)'
    kill "$puma"
    wait "$puma" || true
    rm -f "/tmp/forksafe-wrong-rows-$$"
}

arm "without a hook" off
arm "with hooks/postfork.lua" on
