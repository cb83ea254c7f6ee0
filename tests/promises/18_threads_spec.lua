-- SPDX-License-Identifier: MIT
--
-- Promise 18: a multithreaded fork never deadlocks. A real host with a thread in each lock of libc while it forks, with hooks that log,
-- allocate and fail on both sides of the fork (busy_host.c).
local promises = require "support.promises"
local scripts = require "support.scripts"
local support = require "support"

local LOCKS = { "malloc", "stdio", "tz", "dl", "dns", "syslog", "locale", "env", "users", "services", "atexit", "random", "iconv", "gettext",
  "stacks" }
local FORKS = promises.number(300, 10000)
local FORKS_INSIDE = promises.number(100, 10000) -- while a hook runs in another thread

describe("promise 18: a host with a busy thread in each lock of libc", function()
  promises.it(18, "library", ("forks %d times, and each child runs its hooks and ends"):format(FORKS), function()
    local ini = scripts.application({
      ["prefork.lua"] = "return function() local t = {} for i = 1, 200 do t[i] = ('x'):rep(i) end end",
      ["postfork.lua"] = "return function(event) forksafe.log.debug('in %d', event.pid) error('each time') end",
      ["workerexit.lua"] = "return function(event) return event.registry.settings['here'] end",
    }, "forksafe.audit = off\nforksafe.instance = busy\nforksafe.max_workers = 64\n")
    local result = support.run { support.paths.build .. "/tests/promises/busy_host", tostring(FORKS), ini, timeout = promises.number(90, 1800) }
    assert.equal(0, result.code, result.output:sub(-2000))
    assert.equal(FORKS .. " forks, 0 bad", result.stdout:match "^[^\n]*")
    for _, lock in ipairs(LOCKS) do
      assert.is_true(tonumber(result.stdout:match("\n" .. lock .. " (%d+)\n")) > 0, result.stdout)
    end
    local counts = {}
    for _, one in ipairs(support.debug(ini, { previous = true }).subscribers) do
      counts[one.name] = { one.begun, one.outcomes.ok or 0, one.outcomes.error or 0 }
    end
    assert.same({ prefork = { FORKS, FORKS, 0 }, postfork = { FORKS, 0, FORKS }, workerexit = { FORKS, FORKS, 0 } }, counts)
  end)

  promises.it(18, "library", ("and one inside a hook forks %d times, and no child waits for that one"):format(FORKS_INSIDE), function()
    local ini = scripts.application({
      ["masterready.lua"] = "return function() for i = 1, 20000 do local none = i * i end end",
      ["postfork.lua"] = "return function() end",
      ["workerexit.lua"] = "return function() end",
    }, "forksafe.audit = off\nforksafe.instance = busy\nforksafe.max_workers = 64\n")
    local result = support.run { support.paths.build .. "/tests/promises/busy_host", tostring(FORKS_INSIDE), ini, "emit", timeout = promises.number(60, 1800) }
    assert.equal(0, result.code, result.output:sub(-2000))
    local counts = {}
    for _, one in ipairs(support.debug(ini, { previous = true }).subscribers) do
      counts[one.name] = one.name ~= "masterready" and { one.begun, one.outcomes.ok or 0 } or nil
    end
    assert.same({ postfork = { FORKS_INSIDE, FORKS_INSIDE }, workerexit = { FORKS_INSIDE, FORKS_INSIDE } }, counts)
  end)
end)
