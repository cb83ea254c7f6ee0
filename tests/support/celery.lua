-- SPDX-License-Identifier: MIT
--
-- What the specs of Celery share: a Redis server of their own, a worker program with the application of tests/data/celery, and
-- a client that asks it. Runs in the test process.
local files = require "support.files"
local http = require "support.http"
local paths = require "support.paths"
local process = require "support.process"
local procfs = require "support.procfs"
local scope = require "support.scope"
local servers = require "support.server"
local wait = require "support.wait"

local HERE = paths.data .. "/celery"
local DATABASES = 256

local M = {}

--- Whether this Celery is at least 5.3: it has a signal before a fork, and a worker's exit status comes through.
function M.is_newer()
  local major, minor = process.must_run({ paths.interpreter, "-c", "import celery; print(celery.__version__)" }):match "^(%d+)%.(%d+)"
  return tonumber(major) * 100 + tonumber(minor) >= 503
end

--- The hooks by event. has_loop = false: the broker is one without an event loop.
function M.hooks(has_loop)
  return {
    MasterReady = "worker_init", PreFork = has_loop ~= false and M.is_newer() and "worker_before_create_process" or "register_at_fork",
    PostFork = "register_after_fork", PostWorkerInit = "worker_process_init", WorkerExit = "worker_process_shutdown",
    ChildExit = "exitcode", Reload = "worker_init", Shutdown = "worker_shutdown",
  }
end

-- One Redis server for all that asks within a scope; it keeps nothing on a disk.
local function redis()
  return scope.shared("redis", function()
    local port = http.free_port()
    local server = process.spawn {
      "/usr/bin/redis-server", "--port", tostring(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
      "--dir", files.tmpdir(), "--databases", tostring(DATABASES),
    }
    server:wait_for "Ready to accept connections"
    return { port = port, used = 0 }
  end)
end

--- Starts the Redis server for all tests of a file: call it in a setup.
M.setup = redis

-- A database that no other test has used.
local function fresh_database()
  local server = redis()
  server.used = server.used + 1
  assert(server.used < DATABASES, "each worker program has a database of its own")
  return ("redis://127.0.0.1:%d/%d"):format(server.port, server.used)
end

--- Starts a worker program with 3 pool processes and waits until it is ready.
---@param t table hooks (text by file name); keys (lines of the ini); arguments (a list); env ("HERE" in it is the directory);
--- package (another Python package); ready = false: not to wait
---@return table server with directory, ini, broker
function M.start(t)
  local directory, broker = servers.application(t.hooks), fresh_database()
  local ini = files.write(directory .. "/production.ini", "[app:main]\nuse = egg:tasks\n"
    .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  local env = { BROKER = broker, BACKEND = broker, FORKSAFE_INI = ini, TMPDIR = directory }
  env.PYTHONPATH = (t.package or paths.python) .. ":" .. HERE
  for name, value in pairs(t.env or {}) do
    env[name] = value and value:gsub("HERE", directory)
  end
  local argv = { unpack(paths.celery) }
  local usual = { "-A", "slow_tasks", "worker", "-l", "INFO", "-c", "3", "--without-mingle", "--without-gossip" }
  for _, list in ipairs { usual, t.arguments or {} } do
    for _, argument in ipairs(list) do
      table.insert(argv, argument)
    end
  end
  argv.env, argv.cwd, argv.stop_signal = env, directory, "KILL" -- Linux then kills the processes of its pool
  local server = process.spawn(argv)
  server.directory, server.ini, server.env, server.python = directory, ini, env, paths.interpreter
  if t.ready ~= false then
    server:wait_for("@[^\n]+ ready%.", 20)
  end
  return server
end

--- What the client of tests/data/celery prints for a command and a number.
---@return string
function M.client(server, command, number)
  return process.must_run {
    paths.interpreter, HERE .. "/slow_tasks.py", command, tostring(number), env = server.env, cwd = server.directory, timeout = 40,
  }
end

--- Sends tasks, and tells who ran them.
---@return table[] each with pid, slot (billiard's, from 1; 0 where the pool does not fork), parent
function M.ask(server, number)
  local list = {}
  for pid, slot, parent in M.client(server, "who", number):gmatch "(%d+) (%d+) (%d+)\n" do
    table.insert(list, { pid = tonumber(pid), slot = tonumber(slot), parent = tonumber(parent) })
  end
  assert(#list == number, #list .. " of " .. number .. " tasks were answered")
  return list
end

--- Sends tasks until that many living processes have run one.
---@return integer[] pids sorted
---@return table<integer, integer> slots by pid, as billiard numbers them
function M.answering(server, number)
  local slots = {}
  return wait.eventually(("%d processes run tasks"):format(number), function()
    local pids = {}
    for _, one in ipairs(M.ask(server, 4 * number)) do
      slots[one.pid] = one.slot
    end
    for pid in pairs(slots) do
      table.insert(pids, procfs.alive(pid) and pid or nil)
    end
    table.sort(pids)
    return #pids == number and pids, slots
  end, 30)
end

return M
