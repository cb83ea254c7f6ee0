-- SPDX-License-Identifier: MIT
--
-- The same scenario for every container: 3 workers, one script directory (tests/data/scenario/hooks, byte for byte the same for all),
-- one ini. Start, kill a worker, reload, stop; after each what ran where, compared with /proc. A spec says only how its server is
-- started, reloaded and stopped, and which fork points it has. Runs in the test process.
local assert = require "luassert"
local busted = require "busted"
local lfs = require "lfs"
local signal = require "posix.signal"
local servers = require "support.server"
local support = require "support"

local M = {}

local HOOKS = support.paths.data .. "/scenario/hooks"
local WORKERS = 3

-- The scripts by file name, as the starts of the specs take them.
local function scripts()
  local texts = {}
  for name in lfs.dir(HOOKS) do
    if name:find "%.lua$" then
      texts[name] = support.read(HOOKS .. "/" .. name)
    end
  end
  return texts
end

local function assert_same_scripts(server)
  for name, text in pairs(scripts()) do
    assert.equal(text, support.read(server.directory .. "/hooks/" .. name), name)
  end
end

-- The events of a process in the order of the records, from the one subscriber that each event has in say.lua; and when they began.
local function history(object, pid)
  local names, times = {}, {}
  for _, record in ipairs(object.records) do
    local event = (record.subscriber or ""):match "^say (%w+)$"
    if record.pid == pid and event then
      table.insert(names, event)
      table.insert(times, record.at)
    end
  end
  return table.concat(names, " "), times
end

-- Those events of a list that this container has, as one string.
local function those_of(t, events)
  local has = {}
  for _, event in ipairs(events) do
    table.insert(has, t.hooks[event] and event or nil)
  end
  return table.concat(has, " ")
end

local function master_of(t, server)
  return t.master and t.master(server) or server.pid
end

local function workers_of(t, server)
  if t.workers then
    return t.workers(server)
  end
  return servers.answering(server, WORKERS, t.path)
end

local function children_without_helpers(t, server)
  local helpers = {}
  for _, one in ipairs(servers.said(server, "PostFork")) do
    helpers[one.pid] = one.role == "helper" or nil
  end
  for _, pid in ipairs(t.others and t.others(server) or {}) do
    helpers[pid] = true
  end
  local pids = {}
  for _, pid in ipairs(support.children(master_of(t, server))) do
    table.insert(pids, not helpers[pid] and pid or nil)
  end
  return pids
end

-- Waits until 3 workers of a generation have said the last event of a start, and returns the debug object.
local function wait_started(t, server, generation)
  local last = t.hooks.PostWorkerInit and "PostWorkerInit" or "PostFork"
  support.eventually(("%d workers of generation %d"):format(WORKERS, generation), function()
    return #servers.of_generation(servers.said(server, last), generation) >= WORKERS, servers.log(server)
  end, 30)
  return support.debug(master_of(t, server))
end

local function assert_order(t, object, master, workers)
  local in_master = those_of(t, { "MasterReady", "PreFork" }):gsub("PreFork", ("PreFork "):rep(WORKERS):sub(1, -2))
  assert.equal(t.pre_fork_in_worker and "" or in_master, t.pre_fork_in_worker and "" or (history(object, master)))
  local _, before = history(object, master)
  local first_fork = t.hooks.MasterReady and 2 or 1
  for i, pid in ipairs(workers) do
    local names, times = history(object, pid)
    assert.equal(those_of(t, { "PostFork", "PostWorkerInit" }), names:gsub(" ?PreFork", ""), "worker " .. pid)
    if t.hooks.PreFork and not t.pre_fork_in_worker then
      assert.is_true(before[first_fork] <= times[1], ("PreFork %d comes before any PostFork"):format(i))
    end
  end
end

-- Who runs is who recorded it, and /proc says the same.
local function assert_started(t, server)
  local object = wait_started(t, server, 1)
  local master, workers = master_of(t, server), workers_of(t, server)
  assert.equal(WORKERS, #workers)
  assert.same(workers, t.descendants and workers or children_without_helpers(t, server))
  for event, hook in pairs(t.hooks) do
    if event == "MasterReady" or event:find "^P" then
      local name = ("containers.%s.%s Application%s"):format(t.container, hook, event)
      assert.is_true(support.executed_hooks(object)[name], name .. " was not executed")
    end
  end
  assert_order(t, object, master, workers)
  local slots = {}
  for _, one in ipairs(servers.said(server, "PostFork")) do
    if one.role ~= "helper" then
      assert.is_true(servers.has(workers, one.pid))
      assert.is_true(one.forked)
      table.insert(slots, one.worker)
    end
  end
  assert.same({ 1, 2, 3 }, servers.sorted(slots))
  return workers
end

local function slot_of(server, pid)
  for _, one in ipairs(servers.said(server, "PostFork")) do
    if one.pid == pid then
      return one.worker
    end
  end
end

-- SIGKILL: the master tells how it ended, and the replacement has its slot.
local function assert_replaced(t, server, workers)
  local victim = t.victim and t.victim(server, workers) or workers[2]
  signal.kill(victim, signal.SIGKILL)
  local fresh = support.eventually("a worker in the place of the killed one", function()
    for _, one in ipairs(servers.said(server, "PostFork")) do
      if one.role ~= "helper" and not servers.has(workers, one.pid) then
        return one
      end
    end
    return nil, servers.log(server)
  end, 20)
  assert.equal(slot_of(server, victim), fresh.worker)
  if t.hooks.ChildExit then
    local ended = servers.wait_said(server, "ChildExit", 1)
    assert.same({ master_of(t, server), "master", victim .. "/nil/9" }, { ended[1].pid, ended[1].role, ended[1].child })
    assert.equal(fresh.worker, ended[1].worker)
  end
  assert.equal(WORKERS, #workers_of(t, server))
end

local function subscriber(object, name)
  for _, one in ipairs(object.subscribers) do
    if one.name == name then
      return one
    end
  end
end

-- A changed script: the generation rises, its hash is the one in use, and only new workers are left.
local function assert_reloaded(t, server)
  local before = subscriber(support.debug(master_of(t, server)), "postfork")
  local path = server.directory .. "/hooks/postfork.lua"
  support.write(path, support.read(path) .. "-- the second edition\n")
  local reload = t.reload or function()
    server:signal "HUP"
  end
  server = reload(server) or server
  local object = wait_started(t, server, 2)
  local after = subscriber(object, "postfork")
  assert.not_equal(before.hash, after.hash)
  assert.is_false(after.stale)
  local fresh = {}
  for _, one in ipairs(servers.of_generation(servers.said(server, "PostFork"), 2)) do
    table.insert(fresh, one.pid)
  end
  support.eventually("only workers of the new generation", function()
    for _, pid in ipairs(workers_of(t, server)) do
      if not servers.has(fresh, pid) then
        return false, servers.log(server)
      end
    end
    return true
  end, 20)
  if t.hooks.Reload then
    local said = servers.said(server, "Reload")
    assert.same({ 1, master_of(t, server), 2 }, { #said, said[1].pid, said[1].generation })
  end
  return server
end

-- What processes of the server hold that would outlive them if it were left: the inodes of their sockets, and files in /dev/shm.
local function holdings(pids)
  local held = { sockets = {}, files = {} }
  for _, pid in ipairs(pids) do
    for _, target in pairs(support.fds(pid)) do
      local inode = target:match "^socket:%[(%d+)%]$"
      if inode then
        held.sockets[inode] = true
      end
    end
    for path in (support.read("/proc/" .. pid .. "/maps") or ""):gmatch "(/dev/shm/[^\n]+)" do
      held.files[path:gsub(" %(deleted%)$", "")] = true
    end
  end
  return held
end

local function assert_sockets_gone(sockets)
  for _, name in ipairs { "tcp", "tcp6", "udp", "udp6", "unix" } do
    for line in (support.read("/proc/net/" .. name) or ""):gmatch "[^\n]+" do
      for word in line:gmatch "%S+" do
        assert.is_nil(#word > 3 and sockets[word] or nil, name .. " socket left: " .. line)
      end
    end
  end
end

-- Everybody tells the end, and nothing is left: no process, no socket, no file in shared memory, one journal of a dead master.
local function assert_stopped(t, server, started)
  local master, workers = master_of(t, server), workers_of(t, server)
  local held = holdings { master, unpack(support.descendants(master)) }
  if t.finish then
    t.finish(server)
  else
    assert.equal(0, servers.finish(server))
  end
  if t.hooks.WorkerExit then
    local ended = servers.pids_in(servers.said(server, "WorkerExit"))
    for _, pid in ipairs(workers) do
      assert.is_true(servers.has(ended, pid), "WorkerExit of " .. pid .. "\n" .. servers.log(server))
    end
  end
  if t.hooks.Shutdown then
    local said = servers.said(server, "Shutdown")
    assert.same({ 1, master }, { #said, said[1] and said[1].pid })
  end
  assert.same({}, support.left_behind())
  for _, pid in ipairs(workers) do
    assert.is_nil(support.info(pid))
  end
  assert_sockets_gone(held.sockets)
  for path in pairs(held.files) do
    assert.is_nil(lfs.attributes(path, "mode"), path .. " is left")
  end
  assert.same(started.journals, support.all_files(support.runtime_dir()))
  local object = support.debug(server.ini, { previous = true })
  assert.is_false(object.masters[1].alive)
end

--- The scenario as a busted test, for a container.
---@param t table name; container and hooks ({ PreFork = "pre_fork", ... }: all it ever fires, as recorded: containers.<container>.pre_fork);
--- start(scripts): starts it with those scripts (text by file name) and 3 workers, whose server has pid, ini, directory, and port or workers;
--- reload(server) (HUP; may return another server; false: it has none), finish(server) (TERM, exit status 0), master(server) (its pid),
--- workers(server) (their pids, sorted; asked for over HTTP at `path`), others(server) (pids of children that are no workers),
--- victim(server, workers) (the second), descendants = true where workers are not children of the master, pre_fork_in_worker
function M.of(t)
  busted.it("goes through the scenario of all containers", function()
    local server = t.start(scripts())
    assert_same_scripts(server)
    local workers = assert_started(t, server)
    local started = { journals = support.all_files(support.runtime_dir()) }
    assert_replaced(t, server, workers)
    if t.reload ~= false then
      server = assert_reloaded(t, server)
    end
    assert_stopped(t, server, started)
  end)
end

return M
