-- SPDX-License-Identifier: MIT
--
-- The scenario of all containers, in Debian's Apache with each MPM: restarted gracefully with prefork, at once with event.
local apache = require "support.apache"
local scenario = require "support.scenario"
local servers = require "support.server"

for mpm, restart in pairs { prefork = "USR1", event = "HUP" } do
  describe("Apache with the " .. mpm .. " MPM", function()
    scenario.of {
      name = "Apache", container = "apache",
      hooks = {
        MasterReady = "pre_mpm", PreFork = "make_child", PostFork = "child_init", PostWorkerInit = "child_init", Reload = "post_config",
        WorkerExit = "child_stopping", ChildExit = "child_status", Shutdown = "pool_cleanup",
      },
      start = function(scripts)
        return apache.start { mpm = mpm, hooks = scripts }
      end,
      reload = function(server)
        server:signal(restart)
      end,
      finish = function(server)
        assert.equal(0, servers.finish(server, apache.GRACEFUL_STOP))
      end,
    }
  end)
end
