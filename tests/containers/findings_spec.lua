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

local ID = { unnamed = "lost-thread:unsafe.rb:*" } -- by word
for _, row in ipairs(KINDS) do
  ID[row[1]] = row[2]
end

-- Opens them in the configuration of a server written in Ruby.
local function in_ruby(words, config)
  return function(peer)
    return { config = ("%srequire %q\n"):format(config, HERE .. "/unsafe.rb"),
      env = { UNSAFE = words, PEER_PORT = peer.port, PEER_PORT6 = peer.port6, PEER_PATH = peer.path } }
  end
end

-- Opens them in a script, for a server that loads no application in its master.
local IN_SCRIPT = [[
local sys = require "sys"
sys.connect(%d)
local c = sys.C
local _ = c.eventfd(0, 0) + c.timerfd_create(1, 0) + c.inotify_init1(0)
]]

local function in_script(mpm)
  return function(peer)
    return { mpm = mpm, keys = "forksafe.scripts = %(here)s/hooks\nforksafe.lua_libs = full",
      hooks = { ["sys.lua"] = support.read(HERE .. "/sys.lua"), ["open.lua"] = IN_SCRIPT:format(peer.port) } }
  end
end

local OF_SCRIPT = "tcp eventfd timerfd inotify"
local OF_RUBY = "epoll eventfd timerfd inotify file thread unnamed tcp tcp6 udp unix"
local OF_CELERY = "eventfd timerfd inotify signalfd sqlite file thread tcp tcp6 udp unix" -- and an epoll set is its own

local function in_celery(env)
  return function(peer)
    local all = { UNSAFE = OF_CELERY, PEER_PORT = peer.port, PEER_PORT6 = peer.port6, PEER_PATH = peer.path,
      PYTHONPATH = table.concat({ support.paths.python, support.paths.data .. "/celery", HERE, UNSAFE }, ":") }
    for name, value in pairs(env) do
      all[name] = value
    end
    return { env = all, arguments = { "--include", "app" } }
  end
end

local function shared(support_module, plain)
  return function(t)
    for name, value in pairs(plain or {}) do
      t[name] = t[name] or value
    end
    return require("support." .. support_module).start(t)
  end
end

local FILESYSTEM = { BROKER = "filesystem://", QUEUES = "HERE" }
local FORKING = "workers 3\nfork_worker\n"

-- Those whose starts are shared: start; container; words, and what start is given to open them; replaces = false: nobody is killed.
local SHARED = {
  { name = "Apache (prefork)", container = "apache", start = shared("apache", { mpm = "prefork" }), words = OF_SCRIPT,
    unsafe = in_script "prefork" },
  { name = "Apache (event)", container = "apache", start = shared("apache", { mpm = "event" }), words = OF_SCRIPT,
    unsafe = in_script "event" },
  { name = "Celery", container = "celery", start = shared "celery", words = OF_CELERY, unsafe = in_celery {} },
  { name = "Celery without an event loop", container = "celery", start = shared("celery", { env = FILESYSTEM }), words = OF_CELERY,
    unsafe = in_celery(FILESYSTEM) },
  { name = "Puma", container = "puma", start = shared "puma", words = OF_RUBY, unsafe = in_ruby(OF_RUBY, "workers 3\n") },
  { name = "Puma (preload_app!, with pumactl's server)", container = "puma", words = OF_RUBY,
    start = shared("puma", { config = "workers 3\npreload_app!\nactivate_control_app 'unix://control', no_token: true\n" }),
    unsafe = in_ruby(OF_RUBY, "workers 3\npreload_app!\nactivate_control_app 'unix://control', no_token: true\n") },
  { name = "Puma (fork_worker)", container = "puma", settled = 3, start = shared("puma", { config = FORKING }), words = OF_RUBY,
    unsafe = in_ruby(OF_RUBY, FORKING) },
  { name = "Unicorn", container = "unicorn", start = shared "unicorn", words = OF_RUBY, unsafe = in_ruby(OF_RUBY, "") },
  { name = "Unicorn (preload_app)", container = "unicorn", start = shared("unicorn", { config = "preload_app true\n" }), words = OF_RUBY,
    unsafe = in_ruby(OF_RUBY, "preload_app true\n") },
  { name = "preloaded PHP-FPM", container = "preload", start = shared "fpm", words = OF_SCRIPT, unsafe = in_script(), replaces = false },
}

describe("the audit", function()
  for _, container in ipairs { "prefork", "gunicorn", "uwsgi", "nginx" } do
    it("finds nothing in a plain " .. container, function()
      local server = serve(container)
      assert.same({}, ids(support.debug(server.ini).findings))
      assert.is_nil(server:output():find("not safe to fork", 1, true))
    end)
  end

  for _, row in ipairs(SHARED) do
    -- Also at the fork of a replacement, by a master that serves.
    local function look(t)
      local server = row.start(t or {})
      local first = servers.wait_said(server, "PostFork", 2, 30)
      if row.settled then -- Puma loses a fork that its first worker is killed in
        servers.wait_said(server, "PostWorkerInit", row.settled, 30)
      end
      if row.replaces ~= false then
        signal.kill(first[1].pid, signal.SIGKILL)
        servers.wait_said(server, "PostFork", #servers.said(server, "PostFork") + 1, 30)
      end
      local object = support.debug(server.ini)
      assert.equal(row.container, object.masters[1].container)
      return ids(object.findings), server
    end

    it("finds nothing in a plain " .. row.name, function()
      assert.same({}, (look()))
    end)

    it("finds what is not safe, and nothing else, in " .. row.name, function()
      local peer, expected = start_peer(), {}
      local found, server = look(row.unsafe(peer))
      for word in row.words:gmatch "%w+" do
        table.insert(expected, named(ID[word], server, peer))
      end
      assert.same(sorted(expected), found)
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
