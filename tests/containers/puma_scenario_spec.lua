-- SPDX-License-Identifier: MIT
--
-- The scenario of all containers, in Debian's Puma: reloaded by a phased restart, and as a whole.
local puma = require "support.puma"
local scenario = require "support.scenario"
local servers = require "support.server"

for name, restart in pairs { ["a phased restart"] = "USR1", ["a restart of the master"] = "USR2" } do
  describe("Puma with " .. name, function()
    scenario.of {
      name = "Puma", container = "puma",
      hooks = {
        MasterReady = "before_fork", PreFork = "on_worker_fork", PostFork = "on_worker_boot", PostWorkerInit = "state_running",
        WorkerExit = "on_worker_shutdown", Reload = "on_restart", Shutdown = "on_stopped",
      },
      start = function(scripts)
        return puma.start { hooks = scripts }
      end,
      reload = function(server)
        server:signal(restart)
      end,
      finish = function(server)
        assert.equal(0, servers.finish(server, "INT"))
      end,
    }
  end)
end
