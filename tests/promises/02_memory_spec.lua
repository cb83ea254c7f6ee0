-- SPDX-License-Identifier: MIT
--
-- Promise 2: memory is bounded. 20 hogs, in every container, in the first worker alone: what it ever had beyond its peers is what the arena
-- of the VM is made for, and two megabytes at most. A worker of `forksafe prefork` has become another program by then, and is not measured.
local cjson = require "cjson"
local hogs = require "promises.hogs"
local promises = require "support.promises"
local servers = require "promises.servers"
local said = require "support.server"
local support = require "support"

local CAP, MORE = 16 * 1024, 2 * 1024 -- KiB

-- The most that a process ever had in memory, in KiB.
local function peak_of(pid)
  return tonumber(support.read("/proc/" .. pid .. "/status"):match "VmHWM:%s*(%d+) kB")
end

-- Asserts that each hog ended for want of memory in one worker, and that the subscriber after it ran.
local function assert_ended(object)
  local seen = 0
  for _, one in ipairs(object.subscribers) do
    local text = one.name .. " " .. cjson.encode(one.outcomes)
    if one.name:find "^t%d%d_.*a%.postfork$" then
      seen = seen + 1
      -- One that catches the error and throws it again as its own may end as either.
      assert.same({ 1, 2 }, { one.outcomes.memory + (one.name:find "pcall" and one.outcomes.error or 0), one.outcomes.ok }, text)
    elseif one.name:find "^t%d%d_.*b%.postfork$" then
      assert.equal(3, one.outcomes.ok, text)
    end
  end
  assert.equal(#hogs.ROWS, seen)
end

for _, container in ipairs(promises.CONTAINERS) do
  promises.it(2, container, ("promise 2: in %s, no hog of %d takes a worker beyond its limit"):format(container, #hogs.ROWS), function()
    local server = servers.start(container, { hooks = hogs.hooks("postfork", "event.worker == 1"),
      keys = "forksafe.memory_limit = 16M\nforksafe.time_limit = 20s\nforksafe.records = 64\n" })
    servers.wait_last(server)
    local peers, hog = {}, nil
    for _, one in ipairs(said.said(server, "PostFork")) do
      if one.worker == 1 then
        hog = peak_of(one.pid)
      else
        table.insert(peers, peak_of(one.pid))
      end
    end
    assert.equal(2, #peers)
    local growth = hog - math.min(unpack(peers))
    assert.is_true(growth <= CAP + MORE, ("%d KiB more than its peers"):format(growth))
    assert.is_true(growth > CAP / 2 or container == "prefork", ("%d KiB more than its peers: was it measured?"):format(growth))
    if promises.LONG then
      print(("%s: %d KiB beyond its peers"):format(container, growth))
    end
    assert_ended(support.debug(server.ini))
    servers.assert_serves(server)
  end)
end
