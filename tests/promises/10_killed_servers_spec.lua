-- SPDX-License-Identifier: MIT
--
-- Promise 10, in real servers: a worker killed with SIGKILL at a random moment of its hooks, again and again, and masters killed at a
-- random moment of their start. Every end is counted, every hole in the journal is a killed process's, and the server serves.
local signal = require "posix.signal"
local promises = require "support.promises"
local servers = require "promises.servers"
local said = require "support.server"
local support = require "support"

-- A hook that takes about a millisecond, so that a kill may fall into it.
local HOOKS = { ["postfork.lua"] = "return function() local n = 0 for i = 1, 300000 do n = n + i end return n end" }

-- How many workers are killed: a server without a pause before a new one takes more.
local KILLS = {
  nginx = promises.number(20, 300), uwsgi = promises.number(4, 40), gunicorn = promises.number(4, 40), preload = promises.number(4, 40),
}
local STARTS = promises.number(8, 200)

local BORN = 300000 -- ns that a worker has run for: before, neither its master nor forksafe may know it (adapters/preload/README.md)

local function ran_for(pid)
  return tonumber((support.read("/proc/" .. pid .. "/schedstat") or "0"):match "^%d+")
end

-- Kills the youngest worker at a random moment of its life, once it is there.
local function kill_one(server, killed)
  local pid = support.eventually("a worker that lives", function()
    local children = server:children()
    local one = children[#children]
    return one and not killed[one] and ran_for(one) > BORN and one, said.log(server)
  end, 20)
  support.sleep(math.random() * 0.004)
  killed[pid] = true
  signal.kill(pid, signal.SIGKILL)
end

local function by_name(object)
  local found = {}
  for _, one in ipairs(object.subscribers) do
    found[one.name] = one
  end
  return found
end

local function assert_agrees(object, kills)
  local post = by_name(object).postfork
  assert.equal(3 + kills, by_name(object)["say PreFork"].outcomes.ok)
  local ended = post.begun - (post.outcomes.ok or 0)
  assert.is_true(post.begun >= 3 and post.begun <= 3 + kills, post.begun .. " begun")
  assert.is_true(ended >= 0 and ended <= kills, ended .. " begun and not ended")
  assert.is_true(object.masters[1].records_torn <= kills)
  assert.equal(0, object.masters[1].slots_refused)
end

describe("promise 10: a real server", function()
  for container, kills in pairs(KILLS) do
    promises.it(10, container, ("%s with %d workers killed at random counts every end, and serves"):format(container, kills), function()
      local server = servers.start(container, { hooks = HOOKS, keys = "forksafe.audit = off\n" })
      servers.wait_started(server)
      local killed = {}
      for _ = 1, kills do
        kill_one(server, killed)
      end
      servers.assert_serves(server)
      local object = support.eventually("each end is counted", function()
        local one = support.debug(server.ini)
        return one.masters[1].exits.signal >= kills and one, one.masters[1].exits
      end, 20)
      assert.equal(kills, object.masters[1].exits.signal)
      assert_agrees(object, kills)
    end)
  end

  promises.it(10, "nginx", ("killed %d times at a random moment of its start leaves a journal that reads, and starts again"):format(STARTS), function()
    local place, last = support.tmpdir(), nil
    for _ = 1, STARTS do
      local server = servers.start("nginx", { hooks = HOOKS, env = { RUNTIME_DIRECTORY = place }, keys = "forksafe.instance = killed\n" })
      support.sleep(math.random() * 0.06)
      server.stop_signal = "KILL"
      server:stop()
      last = server
    end
    for _, command in ipairs { "debug", "ps", "log" } do
      local result = support.run { support.paths.command, command, last.ini,
        env = { RUNTIME_DIRECTORY = place } }
      assert.truthy(result.code == 0 or result.code == 3, command .. ": " .. result.output)
    end
    local server = servers.start("nginx", { hooks = HOOKS, env = { RUNTIME_DIRECTORY = place }, keys = "forksafe.instance = killed\n" })
    servers.wait_started(server)
    servers.assert_serves(server)
    local object = support.debug(server.ini, { env = { RUNTIME_DIRECTORY = place } })
    assert.equal(3, by_name(object).postfork.outcomes.ok)
  end)
end)
