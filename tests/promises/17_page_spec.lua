-- SPDX-License-Identifier: MIT
--
-- Promise 17: the page cannot be abused, and the server behind it least of all. serve_spec.lua has the Host check, the methods and 500
-- clients that stall; here is what that costs the scrape, and the server that is looked at.
local prefork = require "containers.prefork_server"
local promises = require "support.promises"
local serve = require "support.serve"
local support = require "support"

local STALLED = 500

local function start()
  local server = prefork.start { hooks = {} }
  prefork.wait_said(server, "PostWorkerInit")
  return server
end

describe("promise 17: forksafe serve", function()
  promises.it(17, "library", ("answers every scrape while %d sockets stall"):format(STALLED), function()
    local web = serve.start { start().ini }
    local partial = { "", "GET /metr", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" }
    for i = 1, STALLED do
      local connection = serve.connect(web)
      connection:send(partial[i % #partial + 1])
    end
    for _ = 1, 5 do -- none of the stalled is let go of before its ten seconds: one that waited for them would not answer in time
      assert.matches("forksafe_build_info", serve.get(web, "/metrics"), 1, true)
    end
  end)

  promises.it(17, "library", "listens on the loopback only, unless told otherwise", function()
    local web = serve.start { start().ini }
    local listening = 0
    for _, name in ipairs { "tcp", "tcp6" } do
      for line in (support.read("/proc/net/" .. name) or ""):gmatch "[^\n]+" do
        local address, port, state = line:match "^%s*%d+: (%x+):(%x+) %x+:%x+ (%x+)"
        if port and tonumber(port, 16) == web.port and state == "0A" then
          listening = listening + 1
          assert.equal("0100007F", address)
        end
      end
    end
    assert.equal(1, listening)
  end)

  promises.it(17, "library", "is a process of its own: the server has no socket, thread or descriptor of it, and does not notice its end", function()
    local server = start()
    local function state(pid)
      local fds, threads = 0, 0
      for _ in pairs(support.fds(pid)) do
        fds = fds + 1
      end
      for _ in require("lfs").dir("/proc/" .. pid .. "/task") do
        threads = threads + 1
      end
      return { fds, threads }
    end
    local pids, before = { server.pid, unpack(server:children()) }, {}
    for i, pid in ipairs(pids) do
      before[i] = state(pid)
    end
    local web = serve.start { server.ini }
    serve.get(web, "/debug.json")
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    for i, pid in ipairs(pids) do
      assert.same(before[i], state(pid))
    end
    web:signal "KILL"
    assert.same({ "killed", 9 }, { web:wait() })
    assert.equal(2, #server:children())
    assert.is_nil(server:stderr():find("Broken pipe", 1, true))
  end)
end)
