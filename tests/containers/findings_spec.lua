-- SPDX-License-Identifier: MIT
--
-- The audit in real servers: a plain one gives no finding, one with an unsafe object of each kind gives exactly that one, and
-- `forksafe doctor` says the same from outside.
local cjson = require "cjson"
local servers = require "support.server"
local signal = require "posix.signal"
local support = require "support"

local HERE = support.paths.data .. "/audit"
local UNSAFE = support.paths.data .. "/doctor"
local PYTHON = "/usr/bin/python3"
local WORKERS = 2

-- The process that connections lead to: pid, port, port6, path.
local function start_peer()
  local path = support.tmpdir() .. "/peer"
  local peer = support.spawn { PYTHON, UNSAFE .. "/peer.py", path }
  local port, port6 = peer:wait_for "peer (%d+) (%d+)\n"
  return { pid = peer.pid, port = port, port6 = port6, path = path }
end

-- A directory with hooks/ and production.ini.
local function application(t)
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/postfork.lua", "return function() end\n")
  for name, text in pairs(t.hooks or {}) do
    support.write(directory .. "/hooks/" .. name, text)
  end
  support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n" .. (t.keys or ""))
  return directory
end

-- What `t.unsafe` (words of unsafe.py) needs to know.
local function environment(t, directory)
  local peer = t.peer or {}
  return { UNSAFE = t.unsafe or "", PYTHONPATH = HERE .. ":" .. UNSAFE .. ":" .. support.paths.python, PEER_PORT = peer.port,
    PEER_PORT6 = peer.port6, PEER_PATH = peer.path, FORKSAFE_INI = directory .. "/production.ini" }
end

local start = {}

function start.gunicorn(t)
  local directory = application(t)
  support.write(directory .. "/config.py", "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n")
  return support.spawn { "/usr/bin/gunicorn", "--config", "config.py", "--preload", "--workers", tostring(WORKERS), "--bind",
    "127.0.0.1:" .. support.free_port(), "app", cwd = directory, env = environment(t, directory) }, directory
end

function start.uwsgi(t)
  local directory = application(t)
  local plugins = support.paths.uwsgi_plugin:match "^(.*)/"
  return support.spawn { "uwsgi", "--plugins-dir", plugins, "--plugin", "python3", "--plugin", "forksafe", "--forksafe",
    directory .. "/production.ini", "--http-socket", "127.0.0.1:" .. support.free_port(), "--master", "--processes",
    tostring(WORKERS), "--die-on-term", "--enable-threads", "--module", "app", cwd = directory, env = environment(t, directory) }, directory
end

function start.prefork(t)
  local directory = application(t)
  return support.spawn { support.paths.command, "prefork", "--workers", tostring(WORKERS), directory .. "/production.ini",
    "--", "/bin/sleep", "600", cwd = directory, env = environment(t, directory) }, directory
end

local NGINX = [[
load_module %s;
forksafe production.ini;
daemon off;
user root;
worker_processes %d;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http { access_log off; server { listen 127.0.0.1:%d reuseport; } }
]]

function start.nginx(t)
  local directory = application(t)
  support.write(directory .. "/nginx.conf", NGINX:format(support.paths.nginx_module, WORKERS, support.free_port()))
  return support.spawn { "/usr/sbin/nginx", "-p", directory, "-c", "nginx.conf", cwd = directory, env = environment(t, directory) }, directory
end

-- Starts a server and waits until its workers have said what they inherited.
local function serve(container, t)
  local server, directory = start[container](t or {})
  server.directory, server.ini = directory, directory .. "/production.ini"
  support.eventually("the workers of " .. container, function()
    local object = support.run { support.paths.command, "debug", server.ini }
    return object.code == 0 and #support.pids_of(cjson.decode(object.stdout), "ApplicationPostFork") >= WORKERS, server:output()
  end, 20)
  return server
end

local function sorted(list)
  table.sort(list)
  return list
end

local function ids(findings)
  local list = {}
  for _, finding in ipairs(findings) do
    table.insert(list, finding.id)
  end
  return sorted(list)
end

-- What the doctor finds, which looks once the workers have settled.
local function doctor(server)
  return cjson.decode(support.run({ support.paths.command, "doctor", "--json", tostring(server.pid) }).stdout)
end

local function named(id, server, peer)
  return (id:gsub("DIR", server.directory):gsub("PORT6", peer.port6):gsub("PORT", peer.port):gsub("PATH", peer.path))
end

local KINDS = { -- word of unsafe.py, id, severity
  { "epoll", "shared-epoll", "high" },
  { "eventfd", "shared-eventfd", "medium" },
  { "timerfd", "shared-timerfd", "medium" },
  { "inotify", "shared-inotify", "medium" },
  { "signalfd", "shared-signalfd", "low" },
  { "sqlite", "shared-database:DIR/state.db", "high" },
  { "file", "shared-file:DIR/report.txt", "medium" },
  { "thread", "lost-thread:telemetry*", "medium" },
  { "tcp", "shared-connection:127.0.0.1:PORT", "high" },
  { "tcp6", "shared-connection:[::1]:PORT6", "high" },
  { "udp", "shared-connection:127.0.0.1:PORT/udp", "high" },
  { "unix", "shared-connection:PATH", "high" },
}

describe("the audit", function()
  for _, container in ipairs { "prefork", "gunicorn", "uwsgi", "nginx" } do
    it("finds nothing in a plain " .. container, function()
      local server = serve(container)
      assert.same({}, ids(support.debug(server.ini).findings))
      assert.is_nil(server:output():find("not safe to fork", 1, true))
    end)
  end

  -- Those whose starts are shared: also at the fork of a replacement, by a master that serves. Celery's has connections of its own by
  -- then, and so has a finding.
  local shared = {
    apache = function()
      return require("support.apache").start { mpm = "prefork" }
    end,
    celery = function()
      return require("support.celery").start {}
    end,
    puma = function()
      return require("support.puma").start {}
    end,
    unicorn = function()
      return require("support.unicorn").start {}
    end,
  }
  for container, start_shared in pairs(shared) do
    it("finds nothing in a plain " .. container, function()
      local server = start_shared()
      local first = servers.wait_said(server, "PostFork", 2, 30)
      if container ~= "celery" then
        signal.kill(first[1].pid, signal.SIGKILL)
        servers.wait_said(server, "PostFork", #servers.said(server, "PostFork") + 1, 30)
      end
      local object = support.debug(server.ini)
      assert.equal(container, object.masters[1].container)
      assert.same({}, ids(object.findings))
    end)
  end

  it("finds nothing in standard streams, pipes, socketpairs, listening and accepted sockets, logs and locks", function()
    local server = serve("gunicorn", { unsafe = "streams pairs inner listener accepted passed log lock", peer = start_peer() })
    assert.same({}, ids(support.debug(server.ini).findings))
  end)

  for _, row in ipairs(KINDS) do
    it("finds " .. row[1] .. " under gunicorn and nothing else, as the doctor does", function()
      local peer = start_peer()
      local server = serve("gunicorn", { unsafe = row[1], peer = peer })
      local findings = support.debug(server.ini).findings
      local id = named(row[2], server, peer)
      assert.same({ id }, ids(findings))
      assert.same({ id }, ids(doctor(server).findings))
      local one = findings[1]
      assert.equal(id, one.kind .. (one.id == one.kind and "" or ":" .. id:sub(#one.kind + 2)))
      assert.same({ 1, WORKERS, "open", server.pid, 1 }, { one.count, one.shared_by, one.state, one.master, one.generation })
      assert.equal(1, select(2, server:output():gsub("not safe to fork", "")))
    end)
  end

  it("finds all of them under uWSGI", function()
    local words, expected, peer = {}, {}, start_peer()
    for _, row in ipairs(KINDS) do
      table.insert(words, row[1])
    end
    local server = serve("uwsgi", { unsafe = table.concat(words, " "), peer = peer })
    for i, row in ipairs(KINDS) do
      expected[i] = named(row[2], server, peer)
    end
    assert.same(sorted(expected), ids(support.debug(server.ini).findings))
  end)
end)
