-- SPDX-License-Identifier: MIT
--
-- The scenario of all containers, in Debian's Unicorn, which QUIT ends in order.
local scenario = require "support.scenario"
local servers = require "support.server"
local unicorn = require "support.unicorn"

describe("Unicorn", function()
  scenario.of {
    name = "Unicorn", container = "unicorn",
    hooks = {
      MasterReady = "before_fork", PreFork = "before_fork", PostFork = "after_fork", PostWorkerInit = "after_worker_ready",
      WorkerExit = "at_exit", ChildExit = "after_worker_exit", Reload = "reload", Shutdown = "at_exit",
    },
    start = function(scripts)
      return unicorn.start { hooks = scripts }
    end,
    finish = function(server)
      assert.equal(0, servers.finish(server, "QUIT"))
    end,
  }
end)
