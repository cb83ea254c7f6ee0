-- SPDX-License-Identifier: MIT
--
-- Promise 10: no count is lost or doubled. A real host that counts for itself (counting_host.c): children that end, and children killed
-- at random moments of an event. The journal agrees to the last one, and what a killed child left open is attributed.
local promises = require "support.promises"
local scripts = require "support.scripts"
local support = require "support"

local FORKS = promises.number(2000, 100000)
local KILLS = promises.number(50, 1000)

local function run(forks, kills)
  local ini = scripts.application({
    ["prefork.lua"] = "return function() end",
    ["postfork.lua"] = "return function() end",
    ["workerexit.lua"] = "return function(event) return event.registry.settings.here end",
    ["childexit.lua"] = "return function(event) return event.child.pid end",
  }, "forksafe.audit = off\nforksafe.instance = counts\nforksafe.max_workers = 64\nforksafe.records = 8\n")
  local result = support.run { support.paths.build .. "/tests/promises/counting_host", tostring(forks), tostring(kills), ini,
    timeout = promises.number(120, 1800) }
  local asked, done = result.stdout:match "^asked (%d+) done (%d+)\n$"
  assert.equal(0, result.code, result.output)
  local object, counted = support.debug(ini, { previous = true }), {}
  for _, one in ipairs(object.subscribers) do
    counted[one.name] = one
  end
  return tonumber(asked), tonumber(done), object, counted
end

-- Every record that is told is whole: it has a subscriber, an outcome, a process and a time.
local function assert_whole(object)
  for _, record in ipairs(object.records) do
    assert.is_string(record.subscriber)
    assert.truthy(record.outcome == "ok" or record.outcome == "unfinished", record.outcome)
    assert.truthy(record.pid > 0 and record.at:find "^20%d%d%-" and record.event:find "^Application")
  end
end

local function sum_of_buckets(one)
  local sum = 0
  for _, bucket in ipairs(one.buckets) do
    sum = sum + bucket[2]
  end
  return sum
end

describe("promise 10: of a host", function()
  promises.it(10, "library", ("with %d forks every count is exact, and so are the records that were overwritten"):format(FORKS), function()
    local asked, done, object, counted = run(FORKS, 0)
    local all = 0
    assert.same({ FORKS, FORKS }, { asked, done })
    for _, name in ipairs { "prefork", "postfork", "workerexit", "childexit" } do
      assert.same({ FORKS, FORKS, FORKS }, { counted[name].begun, counted[name].outcomes.ok, sum_of_buckets(counted[name]) }, name)
      all = all + FORKS
    end
    local master = object.masters[1]
    assert.same({ clean = FORKS, failed = 0, signal = 0 }, master.exits)
    assert.equal(all, #object.records + master.records_overwritten)
    assert.same({ 0, 0 }, { master.records_torn, master.slots_refused })
    assert_whole(object)
  end)

  promises.it(10, "library", ("with %d children killed at random, no count is lost, and every hole is a killed child's"):format(KILLS), function()
    local asked, done, object, counted = run(0, KILLS)
    local master, exit = object.masters[1], counted.workerexit
    assert.same({ clean = 0, failed = 0, signal = KILLS }, master.exits)
    assert.same({ KILLS, KILLS }, { counted.prefork.begun, counted.childexit.outcomes.ok })
    assert.is_true(asked - done <= KILLS and done > 0, asked .. " asked, " .. done .. " done")
    assert.is_true(exit.begun >= done and exit.begun <= asked, exit.begun .. " begun")
    assert.is_true(exit.outcomes.ok >= done and exit.outcomes.ok <= exit.begun, exit.outcomes.ok .. " ok")
    assert.is_true(exit.begun - exit.outcomes.ok <= KILLS)
    assert.is_true(master.records_torn <= KILLS, master.records_torn .. " torn")
    local unfinished = 0
    for _, record in ipairs(object.records) do
      unfinished = unfinished + (record.outcome == "unfinished" and 1 or 0)
    end
    assert.is_true(unfinished <= KILLS)
    assert_whole(object)
  end)
end)
