-- SPDX-License-Identifier: MIT
--
-- What breaks at a fork, on the real servers, libraries and database: each scenario is run with the same command twice, and only the hooks
-- file differs. Shared by the spec, which runs each a time or two, and tests/bench/fork_safety.sh, which counts 20 runs of each.
-- Runs in the test process.
local cjson = require "cjson"
local support = require "support"

local M = {}

local HERE = support.paths.data .. "/fork_safety"
local EXAMPLE = support.paths.root .. "/examples/wrong-rows" -- the third scenario, for everybody to try
local PYTHON = "/usr/bin/python3"
local WORKERS = 3
local GUNICORN_HOOKS = "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n"

local servers = {}

function servers.gunicorn(t)
  support.write(t.directory .. "/config.py", GUNICORN_HOOKS)
  return { "/usr/bin/gunicorn", "--preload", "--config", "config.py", "--workers", tostring(WORKERS),
    "--bind", "127.0.0.1:" .. t.port, "--log-level", "warning", t.app .. ":application" }
end

function servers.uwsgi(t)
  return { "uwsgi", "--plugins-dir", support.paths.uwsgi_plugin:match "^(.*)/", "--plugin", "python3", "--plugin", "forksafe",
    "--http-socket", "127.0.0.1:" .. t.port, "--processes", tostring(WORKERS), "--master", "--die-on-term", "--enable-threads",
    "--forksafe", "production.ini", "--module", t.app .. ":application", "--disable-logging" }
end

function servers.puma(t)
  return { "puma", "--quiet", "--config", EXAMPLE .. "/puma.rb", "--bind", "tcp://127.0.0.1:" .. t.port, EXAMPLE .. "/config.ru" }
end

--- The one list: name, server, app, hooks (those that repair it, each a file of hooks/), the load (requests, threads, timeout, together),
--- database (needs one; with tls too), errors (clean failures a worker may show when it is repaired), and repeated (it breaks by equal numbers).
M.scenarios = {
  { number = 1, name = "gunicorn --preload, SQLAlchemy, psycopg2", server = "gunicorn", app = "database_app", database = true,
    hooks = { "quarantine", "dispose" }, requests = 200, threads = 8, timeout = 10 },
  { number = 2, name = "uWSGI, SQLAlchemy, psycopg2", server = "uwsgi", app = "database_app", database = true,
    hooks = { "quarantine", "dispose" }, requests = 200, threads = 8, timeout = 10 },
  { number = 3, name = "Puma preload_app!, ruby-pg", server = "puma", database = true,
    hooks = { "quarantine" }, requests = 200, threads = 8, timeout = 10, errors = 1 },
  { number = 4, name = "gunicorn --preload, confluent-kafka", server = "gunicorn", app = "kafka_app",
    hooks = { "producer" }, requests = 6, threads = 3, timeout = 10 },
  { number = 5, name = "gunicorn --preload, a thread that holds a lock", server = "gunicorn", app = "lock_app",
    hooks = { "lock" }, requests = 6, threads = 3, timeout = 2 },
  { number = 5, name = "uWSGI, a thread that holds a lock", server = "uwsgi", app = "lock_app",
    hooks = { "lock" }, requests = 6, threads = 3, timeout = 2 },
  { number = 6, name = "gunicorn --preload, a module-level asyncio loop", server = "gunicorn", app = "loop_app",
    hooks = { "unshare" }, requests = 60, threads = 3, timeout = 2, together = true },
  { number = 7, name = "gunicorn --preload, a module-level random.Random()", server = "gunicorn", app = "generator_app",
    hooks = { "reseed" }, requests = 60, threads = 3, timeout = 5, together = true, repeated = true },
}

-- One directory an arm: the ini and the one hooks file.
local function write_application(hook, database)
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/postfork.lua", support.read(HERE .. "/hooks/" .. hook .. ".lua"))
  support.write(directory .. "/production.ini", ("[app:main]\nuse = egg:myapp\nforksafe.scripts = %%(here)s/hooks\ndb.port = %d\n")
    :format(database and database.port or 0))
  return directory
end

-- How many of the answers "N PID VALUE" have a value that another process gave too.
local function count_repeated(bodies)
  local owner, repeated = {}, 0
  for _, body in ipairs(bodies) do
    local pid, value = body:match "^%d+ (%d+) (%d+)$"
    repeated = repeated + (owner[value] and owner[value] ~= pid and 1 or 0)
    owner[value] = owner[value] or pid
  end
  return repeated
end

local function load(scenario, port)
  local argv = { PYTHON, EXAMPLE .. "/load.py", tostring(port), tostring(scenario.requests), tostring(scenario.threads),
    tostring(scenario.timeout), scenario.together and "together" or nil, timeout = 200 }
  local counts = cjson.decode(support.must_run(argv))
  counts.repeated = scenario.repeated and count_repeated(counts.bodies) or 0
  counts.bodies = nil
  return counts
end

-- Waits until the master has forked all workers and they accept.
local function wait_ready(server, ini)
  support.eventually("3 workers are ready", function()
    local object = support.debug(ini)
    local ready = 0
    for _, process in ipairs(object.processes) do
      ready = ready + (process.role == "worker" and process.alive and process.state == "ready" and 1 or 0)
    end
    return ready == WORKERS, server:output()
  end, 30)
end

--- Runs one arm: starts the server with that hooks file, asks it, ends it.
---@param scenario table one of M.scenarios
---@param hook string a file of hooks/: "nothing" is the arm without
---@param options? table database (support.postgres), look = function(server) called between start and load
---@return table counts right, wrong, failed, hung, repeated; backends (more than before the load; with a database)
function M.run(scenario, hook, options)
  local database = scenario.database and options.database
  local directory, port = write_application(hook, database), support.free_port()
  local argv = servers[scenario.server] { directory = directory, port = port, app = scenario.app }
  argv.cwd = directory
  argv.env = {
    PYTHONPATH = support.paths.python .. ":" .. HERE, RUBYLIB = support.paths.ruby, FORKSAFE_INI = directory .. "/production.ini",
    DATABASE_URL = database and database:url(scenario.server ~= "puma" and "postgresql+psycopg2" or nil),
  }
  local server = support.spawn(argv)
  wait_ready(server, directory .. "/production.ini")
  local before = database and #database:backends()
  if options and options.look then
    options.look(server)
  end
  local counts = load(scenario, port)
  counts.backends = database and #database:backends() - before
  counts.log = server:output()
  server:stop()
  return counts
end

--- Whether an arm showed no failure at all that a repaired server must not show.
function M.is_right(scenario, counts)
  return counts.wrong == 0 and counts.hung == 0 and counts.repeated == 0
    and counts.failed <= (scenario.errors or 0) * WORKERS and counts.right + counts.failed == scenario.requests
end

return M
