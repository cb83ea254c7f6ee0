-- SPDX-License-Identifier: MIT
--
-- Every in-process container, started in the same way for the promises: with hooks, lines of the ini, and two or three workers that
-- answer. Real servers, as their own specs start them. Runs in the test process.
local apache = require "support.apache"
local celery = require "support.celery"
local puma = require "support.puma"
local servers = require "support.server"
local support = require "support"
local unicorn = require "support.unicorn"

local M = {}

-- argv with the words of `wrap` (a tracer, a namespace) in front.
local function wrapped(wrap, argv)
  local all = {}
  for _, list in ipairs { wrap or {}, argv } do
    for _, word in ipairs(list) do
      table.insert(all, word)
    end
  end
  return all
end

local function application(t, section)
  local directory = servers.application(t.hooks)
  return directory, support.write(directory .. "/production.ini", section .. "\n" .. (t.keys or "") .. "forksafe.scripts = %(here)s/hooks\n")
end

local function spawn(t, argv, directory, ini, port)
  local all = wrapped(t.wrap, argv)
  all.env, all.cwd, all.stop_signal, all.uid = argv.env or {}, directory, argv.stop_signal, t.uid
  if t.uid then
    support.give(directory, t.uid)
  end
  for name, value in pairs(t.env or {}) do
    all.env[name] = value
  end
  local server = support.spawn(all)
  server.directory, server.ini, server.port, server.log = directory, ini, port, argv.log
  return server
end

local function gunicorn(t, arguments)
  local port = support.free_port()
  local directory, ini = application(t, "[app:main]\nuse = call:slow_app:factory")
  local argv = { support.paths.gunicorn, "--workers", "3", "--graceful-timeout", "4", "--bind", "127.0.0.1:" .. port, unpack(arguments) }
  argv.env = { PYTHONPATH = support.paths.python .. ":" .. support.paths.data .. "/gunicorn" }
  return argv, directory, ini, port
end

local NGINX = [[
load_module MODULE;
forksafe production.ini;
daemon off; user root;
worker_processes 3;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary;
  uwsgi_temp_path temporary; scgi_temp_path temporary;
  server { listen 127.0.0.1:PORT reuseport; return 200 $pid; }
}
]]

local starts = {}

function starts.prefork(t)
  local port = support.free_port()
  local directory, ini = application(t, "[app:main]\nuse = egg:myapp")
  return spawn(t, { support.paths.command, "prefork", "--workers", "3", ini, "--", support.paths.interpreter,
    support.paths.data .. "/pid_server.py", tostring(port) }, directory, ini, port)
end

function starts.uwsgi(t)
  local port = support.free_port()
  local directory, ini = application(t, "[app:main]\npaste.app_factory = app:make_app")
  support.write(directory .. "/app.py", support.read(support.paths.data .. "/uwsgi/app.py"))
  return spawn(t, { support.paths.uwsgi, "--plugins-dir", support.paths.uwsgi_plugin:match "^(.*)/", "--plugin", "python3", "--plugin", "forksafe",
    "--http-socket", "127.0.0.1:" .. port, "--processes", "3", "--die-on-term", "--pythonpath", directory, "--module", "app", "--master",
    "--forksafe", ini }, directory, ini, port)
end

function starts.gunicorn(t)
  local application_of = t.plain and { "slow_app:application" } or { "--paste", "production.ini" }
  local argv, directory, ini, port = gunicorn(t, { "--config", "config.py", unpack(application_of) })
  argv.env.FORKSAFE_INI = t.plain and ini
  support.write(directory .. "/config.py", "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n"
    .. "from forksafe.containers.gunicorn import when_ready, worker_exit, child_exit, on_reload, on_exit\n")
  return spawn(t, argv, directory, ini, port)
end

function starts.nginx(t)
  local port = support.free_port()
  local directory, ini = application(t, "[app:main]\nuse = egg:myapp")
  support.write(directory .. "/nginx.conf", (NGINX:gsub("%u%u%u+", { MODULE = support.paths.nginx_module, PORT = port })))
  return spawn(t, { "/usr/sbin/nginx", "-p", directory, "-c", "nginx.conf", stop_signal = "QUIT" }, directory, ini, port)
end

local function keys_of(t)
  return (t.keys or "") .. "forksafe.scripts = %(here)s/hooks"
end

function starts.apache(t)
  return apache.start { hooks = t.hooks, keys = keys_of(t), env = t.env }
end

function starts.celery(t)
  return celery.start { hooks = t.hooks, keys = keys_of(t), env = t.env }
end

function starts.puma(t)
  return puma.start { hooks = t.hooks, keys = keys_of(t), env = t.env }
end

function starts.unicorn(t)
  return unicorn.start { hooks = t.hooks, keys = keys_of(t), env = t.env }
end

-- A gunicorn that knows nothing of forksafe.
function starts.preload(t)
  local argv, directory, ini, port = gunicorn(t, { "slow_app:application" })
  local env = argv.env
  argv = wrapped({ support.paths.command, "run", ini, "--" }, argv)
  argv.env = env
  return spawn(t, argv, directory, ini, port)
end

--- Starts a container, and waits until each of its three workers has had its PostFork.
---@param container string one of support.promises.CONTAINERS
---@param t table hooks (text by file name), keys (lines of the ini, each with its newline), env; uid (who starts it, and has its
--- directory), wrap (a list of words: a command in front of the server's); both for prefork, uwsgi, gunicorn, nginx and preload only;
--- plain = true: an application of gunicorn that is not in the ini
---@return table server as support.server has it
function M.start(container, t)
  local server = starts[container](t)
  server.container = container
  return server
end

--- Asserts that the server answers requests; returns the pids of its three workers, sorted.
---@param server table
---@return integer[]
function M.assert_serves(server)
  if server.container == "celery" then
    return (celery.answering(server, 3))
  end
  if server.container ~= "prefork" then
    return servers.answering(server, 3, server.container == "uwsgi" and "/slow" or "/")
  end
  local seen = {}
  return support.eventually("3 workers answer", function()
    local _, body = support.http_get(server.port)
    seen[tonumber(body:match "^(%d+) ") or 0] = true
    local list = {}
    for pid in pairs(seen) do
      table.insert(list, pid > 0 and support.alive(pid) and pid or nil)
    end
    return #list == 3 and servers.sorted(list), servers.log(server)
  end, 20)
end

--- Waits until the three workers have run all hooks of a start.
function M.wait_started(server)
  local last = server.container == "preload" and "PostFork" or "PostWorkerInit"
  servers.wait_said(server, last, 3, 30)
end

--- Waits until all three workers have had their PostFork, and a script that logs "the last ran" has run after all others of it.
function M.wait_last(server)
  servers.wait_said(server, "PostFork", 3, 30)
  support.eventually("the last has run in 3 workers", function()
    return servers.count(servers.log(server), "the last ran") >= 3, servers.log(server)
  end, 60)
end

return M
