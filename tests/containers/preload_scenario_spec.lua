-- SPDX-License-Identifier: MIT
--
-- The scenario of all containers, for `forksafe run` with PHP-FPM: it executes itself anew to reload, and goes on in its journal.
local fpm = require "support.fpm"
local scenario = require "support.scenario"
local servers = require "support.server"

describe("forksafe run with PHP-FPM", function()
  scenario.of {
    container = "preload", name = "PHP-FPM",
    hooks = { MasterReady = "first_fork", PreFork = "atfork_prepare", PostFork = "atfork_child", ChildExit = "wait", Shutdown = "exit" },
    start = function(scripts)
      return fpm.start { hooks = scripts }
    end,
    workers = fpm.workers,
    reload = function(server)
      server:signal "USR2"
    end,
    finish = function(server)
      assert.equal(0, servers.finish(server, "QUIT"))
    end,
  }
end)
