-- SPDX-License-Identifier: MIT
--
-- What the specs of all containers do with a real server: hooks that say in the log what ran where, reading that log, asking for the
-- pids that answer, and comparing those with /proc and with what was recorded. Runs in the test process.
--
-- A server here is a process of support.spawn with `ini`; with `port` where it is asked, and with `log`, a path, where it does not
-- write to its standard output and error.
local assert = require "luassert"
local cjson = require "cjson"
local socket = require "socket"
local debug_object = require "support.debug_object"
local files = require "support.files"
local paths = require "support.paths"
local process = require "support.process"
local procfs = require "support.procfs"
local wait = require "support.wait"

local M = {}

-- One line in the log for each event; also the first script of the scenario.
local SAY_ALL = paths.data .. "/scenario/hooks/say.lua"

--- Writes hooks/ (text by file name, or a function that is given the path; the one that says every event is always there) into a fresh
--- directory.
---@param hooks? table<string, string|fun(path: string)>
---@return string directory
function M.application(hooks)
  local directory = files.tmpdir()
  files.write(directory .. "/hooks/say.lua", files.read(SAY_ALL))
  for name, text in pairs(hooks or {}) do
    local put = type(text) == "function" and text or files.write
    put(directory .. "/hooks/" .. name, text)
  end
  return directory
end

--- How often the text has the pattern.
function M.count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

function M.has(list, item)
  for _, one in ipairs(list) do
    if one == item then
      return true
    end
  end
  return false
end

function M.sorted(list)
  local copy = { unpack(list) }
  table.sort(copy)
  return copy
end

--- The pids of what said() found, sorted.
function M.pids_in(list)
  local pids = {}
  for _, one in ipairs(list) do
    table.insert(pids, one.pid)
  end
  return M.sorted(pids)
end

--- All that the server has said.
---@return string
function M.log(server)
  return server.log and files.read(server.log) or server:output()
end

--- What the log says of an event ("PostFork"), as a list of tables in the order of the log.
---@return table[] each with pid, worker, role, generation, forked, loaded, and child as "pid/exit/signal"
function M.said(server, event)
  local list = {}
  for pid, worker, role, generation, forked, loaded, child in M.log(server):gmatch("forksafe%[[%w.-]+%]: " .. event
    .. " pid=(%d+) worker=(%w+) role=(%w+) generation=(%d+) forked=(%w+) loaded=(%w+) child=([%w/-]+)%.") do
    table.insert(list, {
      pid = tonumber(pid), worker = tonumber(worker), role = role, generation = tonumber(generation),
      forked = forked == "true", loaded = loaded == "true", child = child,
    })
  end
  return list
end

--- Waits until the event was said so often, and returns what said() does.
function M.wait_said(server, event, number, seconds)
  return wait.eventually(("%d times %s"):format(number, event), function()
    local list = M.said(server, event)
    return #list >= number and list, M.log(server)
  end, seconds)
end

--- Those of a list that are of one generation, by worker.
function M.of_generation(list, generation)
  local found = {}
  for _, one in ipairs(list) do
    if one.generation == generation then
      table.insert(found, one)
    end
  end
  table.sort(found, function(a, b)
    return (a.worker or 0) < (b.worker or 0)
  end)
  return found
end

--- Asserts what every event of a start (or reload) carries: role, forked, the slots 1..workers, app_loaded.
---@param t table workers; events (those of `MasterReady`, `PreFork`, `PostFork`, `PostWorkerInit` that are expected); generation (1);
--- lazy = true where workers load the application
function M.assert_fields(server, t)
  for _, event in ipairs(t.events) do
    local in_master = event == "MasterReady" or event == "PreFork"
    local list = M.of_generation(M.said(server, event), t.generation or 1)
    assert.equal(event == "MasterReady" and 1 or t.workers, #list, event)
    for slot, one in ipairs(list) do
      assert.equal(in_master and "master" or "worker", one.role, event)
      assert.equal(not in_master, one.forked, event)
      assert.equal(not t.lazy or event == "PostWorkerInit", one.loaded, event)
      assert.equal(event ~= "MasterReady" and slot or nil, one.worker, event)
    end
  end
end

-- Several requests at the same time, so that no worker gets all of them: the pids in the answers.
local function ask(port, path)
  local open, pids = {}, {}
  for _ = 1, 8 do
    local connection = socket.tcp()
    connection:settimeout(5)
    if connection:connect("127.0.0.1", port) then
      connection:send("GET " .. path .. " HTTP/1.0\r\n\r\n")
      table.insert(open, connection)
    end
  end
  for _, connection in ipairs(open) do
    table.insert(pids, tonumber((connection:receive "*a" or ""):match "\r\n\r\n(%d+)$"))
    connection:close()
  end
  return pids
end

--- Asks for `path`, which answers with a pid, until that many living processes have answered.
---@param number integer
---@param path? string "/"
---@return integer[] pids sorted
function M.answering(server, number, path)
  local seen = {}
  return wait.eventually(("%d workers answer"):format(number), function()
    local list = {}
    for _, pid in ipairs(ask(server.port, path or "/")) do
      seen[pid] = true
    end
    for pid in pairs(seen) do
      table.insert(list, procfs.alive(pid) and pid or nil)
    end
    return #list == number and M.sorted(list), M.log(server)
  end, 20)
end

-- Seconds since midnight.
local function time_of(record)
  local hours, minutes, seconds = record.at:match "T(%d+):(%d+):([%d.]+)Z$"
  return hours * 3600 + minutes * 60 + seconds
end

--- The records of a process in their order, as "PostFork PostWorkerInit", and the seconds between the first two.
---@return string names
---@return number? seconds
function M.history(object, pid)
  local names, times = {}, {}
  for _, record in ipairs(object.records) do
    if record.pid == pid then
      table.insert(names, (record.event:gsub("^Application", "")))
      table.insert(times, time_of(record))
    end
  end
  return table.concat(names, " "), times[2] and (times[2] - times[1]) % 86400
end

--- The one description of a start: the master's children in /proc are the workers, each recorded PostFork and PostWorkerInit, the
--- master PreFork for each of them, and nobody anything else.
---@param t table workers (pids, sorted; those that answered, where the server is asked); helpers
--- (pids of other children, none); hooks ({ PreFork = "pre_fork", ... }, recorded as containers.<container>.pre_fork); container;
--- seconds (how long it may take)
---@return table object the debug object
function M.assert_recorded(server, t)
  local object = wait.eventually("a record of each worker", function()
    local one = debug_object.debug(server.ini)
    return #debug_object.pids_of(one, "ApplicationPostWorkerInit") == #t.workers and one, one.records
  end, t.seconds)
  local children = { unpack(t.workers) }
  for _, pid in ipairs(t.helpers or {}) do
    table.insert(children, pid)
  end
  assert.same(M.sorted(children), server:children())
  assert.same(M.sorted(t.helpers and children or t.workers), debug_object.pids_of(object, "ApplicationPostFork"))
  assert.same(t.workers, debug_object.pids_of(object, "ApplicationPostWorkerInit"))
  assert.same({ server.pid }, debug_object.pids_of(object, "ApplicationPreFork"))
  assert.equal((t.hooks.MasterReady and "MasterReady " or "") .. ("PreFork "):rep(#t.workers), M.history(object, server.pid) .. " ")
  for _, pid in ipairs(t.workers) do
    assert.equal("PostFork PostWorkerInit", (M.history(object, pid)))
  end
  local hooks = {}
  for event, name in pairs(t.hooks) do
    hooks[("containers.%s.%s Application%s"):format(t.container, name, event)] = true
  end
  assert.same(hooks, debug_object.executed_hooks(object))
  return object
end

--- Compiles a module of the build again, as the build did: another source, more flags.
---@param t table file (the adapter's own source), source (what is compiled), name (of the module), flags, run_path (the library's directory)
---@return string path
function M.compiled_again(t)
  for _, entry in ipairs(cjson.decode((files.read(paths.build .. "/compile_commands.json")))) do
    if entry.file == t.file then
      local path = files.tmpdir() .. "/" .. t.name
      local line = entry.command:gsub(" %-o %S+ %-c %S+$", function()
        return (" %s -Wno-error -shared -o %s %s %s -Wl,-z,nodelete -Wl,-rpath,%s"):format(t.flags or "", path, t.source, paths.library,
          t.run_path or paths.library:match "^(.*)/")
      end)
      process.must_run { "/bin/sh", "-c", line, cwd = entry.directory, timeout = 60 }
      return path
    end
  end
  wait.fail("the build has no " .. t.file)
end

--- Installs the build under a prefix of the test's and asserts that the server `start(prefix)` starts has the library that was installed.
---@param start fun(prefix: string): table
---@param workers integer how many it has
function M.assert_installed(start, workers)
  local prefix = files.tmpdir() .. "/usr"
  process.must_run { "cmake", "--install", paths.build, "--prefix", prefix, timeout = 60 }
  os.remove(paths.build .. "/install_manifest.txt") -- written into the build directory, which another user may own
  local server = start(prefix)
  M.wait_said(server, "PostWorkerInit", workers)
  local maps = files.read("/proc/" .. server.pid .. "/maps")
  assert.truthy(maps:find(prefix:gsub("%p", "%%%0") .. "/lib[^\n]*/libforksafe%.so"))
  assert.is_nil(maps:find(paths.build, 1, true))
end

--- Ends the server with a signal (TERM) and returns its exit status.
function M.finish(server, name, seconds)
  server:signal(name or "TERM")
  local how, code = server:wait(seconds or 15)
  assert.equal("exited", how, M.log(server))
  return code
end

return M
