-- SPDX-License-Identifier: MIT
--
-- What the specs of forksafe prefork share: starting a real one with hooks that say in the log what ran where, and reading
-- that log and the records. Runs in the test process.
local servers = require "support.server"
local support = require "support"

local M = {
  said = servers.said,
  sorted = servers.sorted,
  pids_in = servers.pids_in,
  events_of = servers.history,
  finish = servers.finish,
}

-- Writes hooks (text by file name) and an ini with more lines for [forksafe].
function M.application(hooks, keys)
  local directory = servers.application(hooks)
  return support.write(directory .. "/app.ini", "[forksafe]\nscripts = hooks\n" .. table.concat(keys or {}, "\n") .. "\n"),
    directory
end

-- Starts a master: t.hooks, t.keys (or t.ini); t.workers, t.arguments, t.command (a list), t.env, t.program.
function M.start(t)
  local ini, directory = t.ini, nil
  if not ini then
    ini, directory = M.application(t.hooks, t.keys)
  end
  local argv = { t.program or support.paths.command, "prefork", env = t.env }
  for _, argument in ipairs(t.arguments or {}) do
    table.insert(argv, argument)
  end
  table.insert(argv, "--workers=" .. (t.workers or 2))
  table.insert(argv, ini)
  if t.command then
    table.insert(argv, "--")
    for _, argument in ipairs(t.command) do
      table.insert(argv, argument)
    end
  end
  local server = support.spawn(argv)
  server.ini, server.directory, server.workers = ini, directory, t.workers or 2
  return server
end

function M.count_said(server, event)
  return #M.said(server, event)
end

-- Waits until as many workers have said the event as there are workers (or `count`).
function M.wait_said(server, event, count, seconds)
  return servers.wait_said(server, event, count or server.workers, seconds)
end

-- Pids by slot, of the newest that said it.
function M.by_worker(list)
  local pids = {}
  for _, one in ipairs(list) do
    pids[one.worker] = one.pid
  end
  return pids
end

function M.process_of(object, pid)
  for _, process in ipairs(object.processes) do
    if process.pid == pid then
      return process
    end
  end
  support.fail("no process " .. pid .. " in the debug object", 2)
end

-- The one description of a start: who was forked recorded it, in the order of events.
function M.assert_started(server)
  support.eventually("all workers are forked", function()
    return #server:children() == server.workers
  end)
  return servers.assert_recorded(server, { workers = server:children(), container = "prefork", hooks = {
    MasterReady = "master_ready", PreFork = "pre_fork", PostFork = "post_fork", PostWorkerInit = "post_worker_init",
  } })
end

return M
