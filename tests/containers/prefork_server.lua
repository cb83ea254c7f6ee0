-- SPDX-License-Identifier: MIT
--
-- What the specs of forksafe prefork share: starting a real one with hooks that say in the log what ran where, and reading
-- that log and the records. Runs in the test process.
local assert = require "luassert"
local support = require "support"

local M = {}

-- One line in the log for each event, in the process in which it ran.
local SAY_ALL = [[
for _, name in ipairs { "MasterReady", "PreFork", "PostFork", "PostWorkerInit", "WorkerExit", "ChildExit", "Reload", "Shutdown" } do
  forksafe.subscribe("Application" .. name, function(event)
    local child = event.child or {}
    forksafe.log.info("%s pid=%d worker=%s role=%s generation=%d forked=%s child=%s/%s/%s.",
      name, event.pid, event.worker, event.role, event.generation, event.forked, child.pid, child.exit, child.signal)
  end, { name = "say " .. name })
end
]]

-- Writes hooks (text by file name; SAY_ALL is always there) and an ini with more lines for [forksafe].
function M.application(hooks, keys)
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/say.lua", SAY_ALL)
  for name, text in pairs(hooks or {}) do
    support.write(directory .. "/hooks/" .. name, text)
  end
  return support.write(directory .. "/app.ini", "[forksafe]\nscripts = hooks\n" .. table.concat(keys or {}, "\n") .. "\n"),
    directory
end

-- Starts a master: t.hooks, t.keys (or t.ini); t.workers, t.arguments, t.command (a list), t.env, t.program.
function M.start(t)
  local ini = t.ini or M.application(t.hooks, t.keys)
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
  server.ini, server.workers = ini, t.workers or 2
  return server
end

-- What the log says of an event, as a list of tables in the order of the log.
function M.said(server, event)
  local list = {}
  for pid, worker, role, generation, forked, child in server:stderr():gmatch(
    event .. " pid=(%d+) worker=(%w+) role=(%w+) generation=(%d+) forked=(%w+) child=([%w/-]+)%.") do
    table.insert(list, {
      pid = tonumber(pid), worker = tonumber(worker), role = role, generation = tonumber(generation),
      forked = forked == "true", child = child,
    })
  end
  return list
end

function M.count_said(server, event)
  return #M.said(server, event)
end

-- Waits until as many workers have said the event as there are workers (or `count`).
function M.wait_said(server, event, count, seconds)
  count = count or server.workers
  return support.eventually(("%d times %s"):format(count, event), function()
    return M.count_said(server, event) >= count and M.said(server, event), server:stderr()
  end, seconds)
end

-- Pids by slot, of the newest that said it.
function M.by_worker(list)
  local pids = {}
  for _, one in ipairs(list) do
    pids[one.worker] = one.pid
  end
  return pids
end

function M.sorted(list)
  local copy = { unpack(list) }
  table.sort(copy)
  return copy
end

function M.pids_in(list)
  local pids = {}
  for _, one in ipairs(list) do
    table.insert(pids, one.pid)
  end
  return M.sorted(pids)
end

-- "ApplicationPostFork ApplicationPostWorkerInit": the events that a process recorded, in their order.
function M.events_of(object, pid)
  local names = {}
  for _, record in ipairs(object.records) do
    if record.pid == pid then
      table.insert(names, (record.event:gsub("^Application", "")))
    end
  end
  return table.concat(names, " ")
end

function M.process_of(object, pid)
  for _, process in ipairs(object.processes) do
    if process.pid == pid then
      return process
    end
  end
  support.fail("no process " .. pid .. " in the debug object", 2)
end

-- Ends the server with a signal and returns its exit status.
function M.finish(server, name, seconds)
  server:signal(name or "TERM")
  local how, code = server:wait(seconds or 10)
  assert.equal("exited", how, server:stderr())
  return code
end

-- The one description of a start: who was forked recorded it, in the order of events.
function M.assert_started(server)
  support.eventually("all workers are forked", function()
    return #server:children() == server.workers
  end)
  support.eventually("all have recorded PostWorkerInit", function()
    return #support.pids_of(support.debug(server.pid), "ApplicationPostWorkerInit") == server.workers
  end)
  local object, children = support.debug(server.pid), server:children()
  assert.same(children, support.pids_of(object, "ApplicationPostFork"))
  assert.same(children, support.pids_of(object, "ApplicationPostWorkerInit"))
  assert.same({ server.pid }, support.pids_of(object, "ApplicationPreFork"))
  assert.same({ server.pid }, support.pids_of(object, "ApplicationMasterReady"))
  assert.equal("MasterReady" .. (" PreFork"):rep(server.workers), M.events_of(object, server.pid))
  for _, pid in ipairs(children) do
    assert.equal("PostFork PostWorkerInit", M.events_of(object, pid))
  end
  return object
end

return M
