-- SPDX-License-Identifier: MIT
--
-- The scenario of all containers, in Debian's Celery with a Redis server: the workers are who runs tasks.
local celery = require "support.celery"
local scenario = require "support.scenario"

describe("Celery", function()
  scenario.of {
    name = "Celery", container = "celery", hooks = celery.hooks(),
    start = function(scripts)
      return celery.start { hooks = scripts }
    end,
    workers = function(server)
      return (celery.answering(server, 3))
    end,
  }
end)
