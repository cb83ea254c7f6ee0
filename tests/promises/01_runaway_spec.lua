-- SPDX-License-Identifier: MIT
--
-- Promise 1: a runaway script is bounded, in Lua and in the C functions of the safe set. The same 31 in every container, in a hook, and a few
-- while scripts load; one host that is stopped again and again (runaway_host.c); and the weaker bounds of the full set.
local cjson = require "cjson"
local promises = require "support.promises"
local runaways = require "promises.runaways"
local servers = require "promises.servers"
local said = require "support.server"
local scripts = require "support.scripts"
local support = require "support"

local HOST = support.paths.build .. "/tests/promises/runaway_host"
local STOPPED = "stopped: it ran longer than forksafe.time_limit allows"
local GIVEN_UP = STOPPED .. ", inside a call that could not be interrupted; its Lua state was given up"
local KEYS = "forksafe.time_limit = 20ms\nforksafe.records = 128\n"

-- Asserts how each subscriber ended in each worker; returns how many there were.
local function assert_ended(object, workers)
  local count = 0
  for _, one in ipairs(object.subscribers) do
    local allowed, ends = runaways.may_end(one.name), 0
    for outcome, number in pairs(one.outcomes) do
      assert.is_true(number == 0 or allowed[outcome] ~= nil, ("%s ended as %s"):format(one.name, cjson.encode(one.outcomes)))
      ends = ends + number
    end
    count = count + (one.name:find "^t%d" and 1 or 0)
    assert.is_true(not one.name:find "^[tz]" or ends == workers, ("%s ended %d times"):format(one.name, ends))
  end
  return count
end

-- Asserts that no real-time signal is caught, blocked or pending in a process (34 to 64: the first two are libc's), and that it has no timer
-- that is for one thread: Ruby has one for the process.
local function assert_no_timer(pid)
  local status = support.read("/proc/" .. pid .. "/status")
  for name, high, low in status:gmatch "(Sig%u%l%l):%s*(%x%x%x%x%x%x%x%x)(%x%x%x%x%x%x%x%x)" do
    if name ~= "SigIgn" and name ~= "SigQ" then
      local bits = tonumber(high, 16) * 2 + math.floor(tonumber(low, 16) / 0x80000000)
      assert.equal(0, bits - bits % 4, name .. " of " .. pid) -- without 32 and 33
    end
  end
  assert.is_nil(support.read("/proc/" .. pid .. "/timers"):find("notify: signal/tid", 1, true), "timers of " .. pid)
end

for _, container in ipairs(promises.CONTAINERS) do
  describe("promise 1: in " .. container, function()
    promises.it(1, container, "every runaway ends, the subscriber after them runs, and the server answers", function()
      local hooks = runaways.hooks "postfork"
      for name, text in pairs(runaways.loading()) do
        hooks[name] = text
      end
      local server = servers.start(container, { hooks = hooks, keys = KEYS })
      servers.wait_last(server)
      local workers = servers.assert_serves(server)
      assert.equal(runaways.COUNT, assert_ended(support.debug(server.ini), 3))
      local log = said.log(server)
      assert.is_true(said.count(log, "forksafe%[[^\n]*" .. STOPPED:gsub("%p", "%%%0")) >= 3, log)
      for _, pid in ipairs { server.pid, unpack(workers) } do
        assert_no_timer(pid)
      end
    end)
  end)
end

describe("promise 1: a host that is stopped again and again", function()
  local WAYS = {
    { "by an error", "while true do end", STOPPED },
    { "by a jump out of a pattern", "(('a'):rep(2000)):find(('a-'):rep(30) .. 'b')", GIVEN_UP },
    { "by a jump out of a handler", "xpcall(error, function() while true do end end)", STOPPED },
    { "by a jump out of a sort", "local numbers = {} for i = 1, 100000 do numbers[i] = i * 7919 % 300007 end table.sort(numbers)", GIVEN_UP },
  }
  local runs = promises.number(100, 5000) -- each: 20,000 in all

  for _, way in ipairs(WAYS) do
    promises.it(1, "library", ("(%d times) %s grows no memory, and finds its signals as they were"):format(runs, way[1]), function()
      local ini = scripts.application({
        ["1.workerexit.lua"] = "return function() " .. way[2] .. " end",
        ["2.workerexit.lua"] = "return function() end",
      }, "forksafe.time_limit = 5ms\n")
      local result = support.run { HOST, tostring(runs), ini, timeout = promises.number(120, 2000) }
      assert.equal(0, result.code, result.output:sub(-4000))
      local text, json = result.stdout:match "^(.-)\n({.*)$"
      if promises.LONG then
        print(way[1] .. ": " .. text)
      end
      local growth = tonumber(text:match "resident ([-%d]+) KiB")
      assert.is_true(growth < 1024, text)
      local ended = {}
      for _, one in ipairs(cjson.decode(json).subscribers) do
        ended[one.name] = one.outcomes
      end
      assert.equal(runs, ended["1.workerexit"].timeout, json)
      assert.equal(runs, ended["2.workerexit"].ok, json)
      assert.truthy(result.stderr:find(way[3], 1, true), result.stderr:sub(1, 2000))
    end)
  end
end)

describe("promise 1: with the full library set", function()
  local FULL = "forksafe.lua_libs = full\nforksafe.time_limit = 20ms\n"

  local function run(body)
    return scripts.test({ ["1.postfork.lua"] = "return function()\n" .. body .. "\nend", ["2.postfork.lua"] = "return function() end" }, FULL,
      { "--event", "postfork", timeout = 30 })
  end

  for name, body in pairs {
    ["a loop"] = "while true do end", ["loops in pcall in a loop"] = "while true do pcall(function() while true do end end) end",
    ["a loop in a coroutine"] = "coroutine.wrap(function() while true do end end)()",
    ["a loop that took the hook away"] = "pcall(function() require('debug').sethook() end) while true do end",
  } do
    promises.it(1, "library", name .. " is stopped all the same", function()
      local result = run(body)
      assert.same({ "1.postfork=timeout", "2.postfork=ok" }, scripts.outcomes(result), result.stderr)
      assert.truthy(result.stderr:find(STOPPED, 1, true), result.stderr)
    end)
  end

  for name, body in pairs {
    ["os.execute"] = "os.execute 'sleep 0.5'", ["io.popen"] = "io.popen('sleep 0.5'):read '*a'",
    ["ffi"] = "local ffi = require 'ffi' ffi.cdef 'int usleep(unsigned);' ffi.C.usleep(500000)",
  } do
    promises.it(1, "library", "a call of " .. name .. " is not cut, but the run is recorded with the time it took", function()
      local result = run(body .. " forksafe.log.info 'came back' for _ = 1, 1e7 do end")
      assert.equal(2, #scripts.outcomes(result), result.stderr)
      assert.equal("1.postfork=timeout", scripts.outcomes(result)[1], result.stderr)
      assert.equal("2.postfork=ok", scripts.outcomes(result)[2])
      assert.is_true(result.debug.records[1].duration >= 0.5, cjson.encode(result.debug.records[1]))
      assert.truthy(result.stderr:find("came back", 1, true), result.stderr)
    end)
  end
end)
