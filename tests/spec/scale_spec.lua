-- SPDX-License-Identifier: MIT
--
-- A large journal, filled by real children (tests/bench/fill_journal.c): all of it is told, and what that needs of memory does not
-- grow with the text. How long it takes is for tests/bench/scale.sh.
local cjson = require "cjson"
local support = require "support"

local SLOTS, SUBSCRIBERS, RECORDS, LIVING = 2000, 300, 32, 50
local GOAL = 64 * SLOTS / 10000 -- MiB: the part of a goal for 10,000 slots

-- Runs forksafe with its output in a file; returns the peak of its resident memory, in MiB.
local PEAK = [[
import os, sys
pid = os.fork()
if pid == 0:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
print(status, usage.ru_maxrss)
]]

local function run(output, ...)
  local said = support.must_run { "/usr/bin/python3", "-c", PEAK, output, support.paths.command, ... }
  local status, kilobytes = said:match "^(%d+) (%d+)\n$"
  assert.equal("0", status)
  return tonumber(kilobytes) / 1024
end

-- A full journal whose master lives; its path.
local function fill(slots, living)
  local directory = support.tmpdir()
  for number = 1, SUBSCRIBERS do
    support.write(("%s/hooks/%05d.lua"):format(directory, number), "return function() end")
  end
  local ini = support.write(directory .. "/app.ini", ("[forksafe]\nruntime_dir = %s/run\nmax_workers = %d\nrecords = %d\n[settings]\n"):format(
    directory, slots, RECORDS))
  support.must_run { "mkfifo", directory .. "/forever" }
  local filler = support.spawn { "sh", "-c", 'exec "$@" < forever', "sh", support.paths.build .. "/tests/fill_journal", ini,
    tostring(SUBSCRIBERS), directory .. "/hooks", tostring(living), cwd = directory }
  -- Who opens it for writing keeps it open until the end of the test.
  local forever = assert(io.open(directory .. "/forever", "w"))
  support.defer(function()
    forever:close()
  end)
  return filler:wait_for("^(/[^\n]+%.journal)\n", 60)
end

describe("a journal with its rings full", function()
  it("is told to its last record, and needs memory for a small part of it", function()
    local output = support.tmpdir() .. "/output"
    local small, large = fill(10, 0), fill(SLOTS, LIVING)
    local base = run(output, "debug", small)
    local growth = run(output, "debug", large) - base
    local object = cjson.decode(support.read(output))
    assert.is_true(#support.read(output) / 2 ^ 20 > GOAL, "the text is smaller than the memory it may need")
    assert.is_true(growth < GOAL, ("%.1f MiB more than a small one's"):format(growth))

    assert.same({ SLOTS, SUBSCRIBERS, (SLOTS - 1) * RECORDS }, { #object.processes, #object.subscribers, #object.records })
    local master = object.masters[1]
    assert.same({ SLOTS - 1, SLOTS - 1 - LIVING, (SLOTS - 1) * 8, 0 }, {
      master.forks.worker, master.exits.clean, master.records_overwritten, master.records_torn,
    })
    local begun, failed, alive = 0, 0, 0
    for _, subscriber in ipairs(object.subscribers) do
      begun, failed = begun + subscriber.begun, failed + subscriber.outcomes.error
    end
    for _, process in ipairs(object.processes) do
      alive = alive + (process.alive and 1 or 0)
      assert.truthy(process.role == "master" or process.error:find("Connection refused", 1, true))
    end
    assert.same({ (SLOTS - 1) * (RECORDS + 8), SLOTS - 1, LIVING + 1 }, { begun, failed, alive })
    for i = 2, #object.records do
      assert.is_true(object.records[i - 1].at <= object.records[i].at)
    end
  end)

  it("has all of its metrics, in little memory too", function()
    local output = support.tmpdir() .. "/output"
    local large = fill(SLOTS, 0)
    assert.is_true(run(output, "debug", "--metrics", large) < 16)
    local text = support.read(output)
    local counted, series = 0, 0
    for runs in text:gmatch "\nforksafe_hook_runs_total{[^}]*} (%d+)" do
      counted, series = counted + tonumber(runs), series + 1
    end
    assert.same({ (SLOTS - 1) * (RECORDS + 8), SUBSCRIBERS * 7 }, { counted, series })
    assert.truthy(text:find(("\nforksafe_records_dropped_total{[^}]*} %d\n"):format((SLOTS - 1) * 8)))
  end)
end)
