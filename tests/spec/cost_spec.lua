-- SPDX-License-Identifier: MIT
--
-- What one hook costs, in what can be counted: pages that a fresh child touches and copies, system calls where it is warm.
-- tests/bench/README.md tells where each page comes from, and has the times.
local cjson = require "cjson"
local support = require "support"

local FAULTS = 17 -- 13 to 15: it depends on where the maps lie
local COPIED = 16 -- kB, of pages of 4: 8 and some
local CALLS = 6

-- An ini with the quickstart's hook, and its journal on a tmpfs, as /run is.
local function application()
  local directory = support.tmpdir()
  local run = assert(require("posix.stdlib").mkdtemp "/dev/shm/forksafe-test-XXXXXX")
  support.defer(function()
    support.must_run { "rm", "-rf", run }
  end)
  support.write(directory .. "/hooks/postfork.lua", support.read(support.paths.root .. "/examples/quickstart/hooks/postfork.lua"))
  return support.write(directory .. "/app.ini", ([[
[app:main]
use = egg:myapp
db.host = 10.0.0.5
forksafe.scripts = %%(here)s/hooks
forksafe.runtime_dir = %s
forksafe.audit = off
]]):format(run))
end

-- Runs of the hook that ended well, by the journal's counters.
local function hooks_ran(ini)
  local object = cjson.decode(support.must_run { support.paths.command, "debug", "--previous", ini })
  return object.subscribers[1].outcomes.ok
end

local function system_calls(ini, emits)
  local report = support.tmpdir() .. "/calls"
  support.must_run { "strace", "-f", "-c", "-o", report, support.paths.build .. "/tests/forker", "warm", tostring(emits), ini }
  local total = assert(support.read(report):match "([^\n]+) total\n")
  return tonumber((total:match "^ *%S+ +%S+ +%S+ +(%d+)"))
end

describe("a hook in a fresh child", function()
  it("touches few pages, and copies fewer", function()
    local ini = application()
    local found = cjson.decode(support.must_run { support.paths.build .. "/tests/fork_hook", ini, "200" })
    assert.is_true(hooks_ran(ini) >= 200)
    assert.is_true(found.hook.minor_faults <= FAULTS, found.hook.minor_faults .. " minor faults")
    local copied = found.hook.private_dirty_kb - found.bare.private_dirty_kb
    assert.is_true(copied <= COPIED, copied .. " kB of private dirty memory")
    assert.is_true(found.hook.minor_faults > 0 and copied > 0)
  end)
end)

describe("a warm hook", function()
  it("makes few system calls", function()
    local ini = application()
    local calls = (system_calls(ini, 300) - system_calls(ini, 100)) / 200
    assert.is_true(hooks_ran(ini) >= 100)
    assert.is_true(calls <= CALLS, calls .. " system calls")
    assert.is_true(calls > 0)
  end)
end)
