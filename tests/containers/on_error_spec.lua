-- SPDX-License-Identifier: MIT
--
-- What on_error comes to in each container, at each event: the table of adapters/README.md, row by row against the real servers. A
-- container is added by a row in `containers`.
local apache = require "support.apache"
local celery = require "support.celery"
local signal = require "posix.signal"
local servers = require "support.server"
local support = require "support"

local WORKERS = 3
local EVENTS = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit", "WorkerExit", "ChildExit", "Reload", "Shutdown" }
local IN_MASTER = { "MasterReady", "PreFork", "ChildExit", "Reload", "Shutdown" }

local APP = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n"
local NGINX = [[
load_module %s; forksafe app.ini; daemon off; user root; worker_processes %d; pid nginx.pid; error_log stderr notice;
events { worker_connections 64; }
http { access_log off; client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
  server { listen 127.0.0.1:%d; return 200 ok; } }
]]

-- Starts one with the script beside those of all.
local function started_by(module, options)
  return function(script)
    local t = { hooks = { ["fail.lua"] = script } }
    for name, value in pairs(options or {}) do
      t[name] = value
    end
    return require("support." .. module).start(t)
  end
end

-- command(directory, port): the server's argv, with env; its ini is app.ini; or start(script). reload: the signal, where it is not HUP.
-- lacks: an event that it does not have. late: the last workers see by themselves that the master has gone. ready: what it
-- says when it looks after its workers. end_worker: the signal that ends a worker in order. stop:
-- the server's own. quick: another one, where it tells its workers of the first through a pipe that one which waits does not read; false:
-- it has none. status(event): what the server exits with after stop_server. never: what its log has not, since all ends in order.
local containers = {
  { name = "forksafe prefork", stop = "TERM", end_worker = signal.SIGTERM,
    command = function()
      return { support.paths.command, "prefork", "--workers=" .. WORKERS, "app.ini" }
    end,
    status = function()
      return 1
    end },
  { name = "uWSGI", stop = "INT", end_worker = signal.SIGHUP, never = "DAMN",
    command = function(_, port)
      return { "uwsgi", "--plugins-dir", support.paths.uwsgi_plugin:match "^(.*)/", "--plugin", "python3", "--plugin", "forksafe",
        "--forksafe", "app.ini", "--http-socket", "127.0.0.1:" .. port, "--processes", tostring(WORKERS), "--master", "--die-on-term",
        "--wsgi-file", "app.py" }
    end,
    status = function(event)
      return event == "Shutdown" and 0 or 22
    end },
  { name = "gunicorn", stop = "TERM", end_worker = signal.SIGTERM,
    command = function(directory, port)
      support.write(directory .. "/config.py", "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init, when_ready,"
        .. " worker_exit, child_exit, on_reload, on_exit\n")
      return { support.paths.gunicorn, "--config", "config.py", "--workers", tostring(WORKERS), "--graceful-timeout", "4",
        "--bind", "127.0.0.1:" .. port, "app", env = { PYTHONPATH = support.paths.python, FORKSAFE_INI = "app.ini" } }
    end,
    status = function(event)
      return event:find "^Post" and 3 or (event == "MasterReady" or event == "PreFork") and 1 or 0
    end },
  { name = "nginx", stop = "QUIT", quick = false, end_worker = signal.SIGQUIT,
    command = function(directory, port)
      support.write(directory .. "/nginx.conf", NGINX:format(support.paths.nginx_module, WORKERS, port))
      return { "/usr/sbin/nginx", "-p", directory, "-c", "nginx.conf" }
    end,
    status = function()
      return 0
    end },
  { name = "Apache", stop = apache.GRACEFUL_STOP, quick = "TERM", end_worker = signal.SIGUSR1,
    command = function(directory, port)
      apache.configure({ directory = directory, port = port }, { lua = "none", forksafe = "Forksafe app.ini", main = "ErrorLog /dev/stderr\n" })
      return { apache.PROGRAM, "-f", directory .. "/httpd.conf", "-DFOREGROUND" }
    end,
    status = function()
      return 0
    end },
  { name = "Puma", start = started_by "puma", stop = "INT", reload = "USR1", lacks = "ChildExit", end_worker = signal.SIGTERM,
    status = function()
      return 0
    end },
  { name = "Unicorn", start = started_by "unicorn", stop = "QUIT", quick = "TERM", end_worker = signal.SIGQUIT,
    status = function()
      return 0
    end },
  { name = "Celery", start = started_by("celery", { ready = false }), stop = "TERM", quick = false, end_worker = signal.SIGTERM,
    late = true, ready = "@[^\n]+ ready%.",
    status = function(event) -- 5.2 loses the status of a worker program that ran
      return (event == "MasterReady" or event == "Reload" or event ~= "Shutdown" and celery.is_newer()) and 1 or 0
    end },
}

-- Starts a server with one more script.
local function start(container, script)
  if container.start then
    return container.start(script)
  end
  local directory, port = servers.application { ["fail.lua"] = script }, support.free_port()
  support.write(directory .. "/app.ini", "[forksafe]\nscripts = hooks\n")
  support.write(directory .. "/app.py", APP)
  local argv = container.command(directory, port)
  argv.cwd, argv.stop_signal = directory, container.stop
  local server = support.spawn(argv)
  server.ini = directory .. "/app.ini"
  return server
end

local function kill_one(container, server, number)
  if container.ready then
    server:wait_for(container.ready, 20)
  end
  signal.kill(servers.said(server, "PostWorkerInit")[1].pid, number)
end

-- What makes an event happen in a server that has started.
local causes = {
  WorkerExit = function(container, server)
    kill_one(container, server, container.end_worker)
  end,
  ChildExit = function(container, server)
    kill_one(container, server, signal.SIGKILL)
  end,
  Reload = function(container, server)
    server:signal(container.reload or "HUP")
  end,
  Shutdown = function(container, server)
    server:signal(container.stop)
  end,
}

local function cause(container, server, event)
  if causes[event] then
    servers.wait_said(server, "PostWorkerInit", WORKERS)
    causes[event](container, server)
  end
end

local function failing(events, on_error, condition)
  local lines = {}
  for _, event in ipairs(events) do
    table.insert(lines, ('forksafe.subscribe("Application%s", function(event) if %s then error "not fit" end end, { name = "fail %s", on_error = "%s" })')
      :format(event, condition or "true", event, on_error))
  end
  return table.concat(lines, "\n")
end

local function alive(list)
  local pids = {}
  for _, one in ipairs(list) do
    pids[one.worker] = support.alive(one.pid) and one.pid or pids[one.worker]
  end
  return pids
end

-- Those of a list that this container has.
local function of(container, events)
  local list = {}
  for _, event in ipairs(events) do
    table.insert(list, event ~= container.lacks and event or nil)
  end
  return list
end

setup(celery.setup)

for _, container in ipairs(containers) do
  describe("on_error under " .. container.name, function()
    it("= log goes on at every event", function()
      local server = start(container, failing(EVENTS, "log"))
      local first = servers.wait_said(server, "PostWorkerInit", WORKERS)
      causes.ChildExit(container, server)
      servers.wait_said(server, "PostWorkerInit", WORKERS + 1)
      causes.Reload(container, server)
      servers.wait_said(server, "PostWorkerInit", 2 * WORKERS + 1, 20)
      support.eventually("the first workers are gone", function()
        return #alive(first) == 0 and #server:children() == WORKERS
      end)
      servers.finish(server, container.stop)
      for _, event in ipairs(of(container, EVENTS)) do
        assert.truthy(server:output():find("Application" .. event .. ": subscriber 'fail " .. event .. "' failed: ", 1, true), event)
      end
      assert.is_nil(server:output():find("not available here", 1, true))
    end)

    for event, pauses in pairs { PostFork = { "0.1", "0.2", "0.4", "0.8", "1.6" }, PostWorkerInit = { "0.1", "0.2" } } do
      it("= retire_worker at " .. event .. " replaces that worker, slower each time, and keeps the others", function()
        local server = start(container, failing({ event }, "retire_worker", "event.worker == 2"))
        server:wait_for "retires in 0%.0 s"
        for _, pause in ipairs(pauses) do
          server:wait_for("retires in " .. pause:gsub("%.", "%%.") .. " s", 15)
        end
        for _, ended in ipairs(servers.said(server, "ChildExit")) do
          assert.equal(2, ended.worker)
        end
        local others = alive(servers.said(server, "PostWorkerInit"))
        assert.same({ true, true }, { others[1] ~= nil, others[3] ~= nil })
        assert.is_true(support.debug(server.ini).masters[1].retired > #pauses)
        assert.is_nil(container.never and server:output():find(container.never))
        if event == "PostFork" and container.quick ~= false then -- while it waits, the server can be stopped (spec/breaker_spec.lua)
          server:wait_for("retires in 3%.2 s", 15)
        elseif event == "PostWorkerInit" then
          causes.Reload(container, server)
          support.eventually("a reload begins anew", function() -- whole: uWSGI loses a signal to workers that are starting
            local fresh = alive(servers.of_generation(servers.said(server, "PostWorkerInit"), 2))
            return servers.count(server:output(), "retires in 0%.0 s") >= 2 and fresh[1] and fresh[3] -- and, before Celery is stopped:
              and (not container.ready or servers.count(server:output(), container.ready) >= 2), server:output()
          end, 15)
        end
        servers.finish(server, container.quick or container.stop)
        assert.is_nil(server:output():find("not available here", 1, true))
      end)
    end

    it("= retire_worker in the master is said once for each subscriber not to be available, and retires nobody", function()
      local server = start(container, failing(IN_MASTER, "retire_worker"))
      servers.wait_said(server, "PostWorkerInit", WORKERS)
      causes.ChildExit(container, server)
      servers.wait_said(server, "PostWorkerInit", WORKERS + 1)
      for _, event in ipairs(of(container, IN_MASTER)) do
        assert.equal(1, servers.count(server:output(), "subscriber 'fail " .. event .. "' of Application" .. event
          .. ": on_error = retire_worker is not available here: this event is not in a worker; its failures are only logged"), event)
      end
      assert.equal(0, support.debug(server.ini).masters[1].retired)
      assert.equal(WORKERS, #server:children())
      servers.finish(server, container.stop)
      assert.equal(1, #servers.said(server, "Shutdown"))
    end)

    for _, event in ipairs(of(container, EVENTS)) do
      it("= stop_server at " .. event .. " ends the server in order", function()
        local server = start(container, failing({ event }, "stop_server"))
        cause(container, server, event)
        local how, status = server:wait(15)
        -- Python may drop what gunicorn raises to stop, where its SIGCHLD comes in a callback of the fork: then it gets a TERM.
        local dropped = server:output():find("Exception ignored in", 1, true)
        assert.same({ "exited", dropped and 0 or container.status(event) }, { how, status }, server:output())
        assert.equal(1, #servers.said(server, "Shutdown"), server:output())
        if container.late then
          support.eventually("the last workers have gone", function()
            return #support.orphans() == 0
          end)
        end
        assert.same({}, support.orphans())
        assert.is_nil(not dropped and server:output():find "Traceback" or nil)
      end)
    end
  end)
end
