-- SPDX-License-Identifier: MIT
--
-- The plugin in Debian's uWSGI as a user runs it: real requests, and what the hooks recorded compared with the master's
-- children in /proc and with the pids in the answers.
local pwd = require "posix.pwd"
local signal = require "posix.signal"
local scenario = require "support.scenario"
local servers = require "support.server"
local stat = require "posix.sys.stat"
local support = require "support"

local HERE = support.paths.data .. "/uwsgi"
local SOURCE = support.paths.root .. "/adapters/uwsgi/forksafe_plugin.c"
local WORKERS = 3

local count, history, pids_in, said, wait_said = servers.count, servers.history, servers.pids_in, servers.said, servers.wait_said

local PLUGIN_DIR = support.paths.uwsgi_plugin:match "^(.*)/"

-- A directory with app.py, hooks (text by file name) and production.ini.
local function application(t)
  local directory = servers.application(t.hooks)
  support.write(directory .. "/app.py", support.read(HERE .. "/app.py"))
  support.write(directory .. "/production.ini", "[app:main]\npaste.app_factory = app:make_app\n"
    .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  return directory
end

-- Starts uWSGI with 3 workers. t.arguments (a list; DIR in it is the application's directory), t.ini (instead of
-- --forksafe), t.plugins, t.plugin_dir, t.env, t.no_master; t.hooks and t.keys as above.
local function start(t)
  local directory, port = application(t), support.free_port()
  local argv = { support.paths.uwsgi, "--plugins-dir", t.plugin_dir or PLUGIN_DIR }
  for _, name in ipairs(t.plugins or { "python3", "forksafe" }) do
    if name == "forksafe" or not support.paths.uwsgi_has_plugins then
      table.insert(argv, "--plugin")
      table.insert(argv, name)
    end
  end
  local more = {
    "--http-socket", "127.0.0.1:" .. port, "--processes", tostring(WORKERS), "--die-on-term", "--pythonpath", directory,
    "--module", "app",
  }
  local function add(list)
    for _, argument in ipairs(list) do
      table.insert(argv, (argument:gsub("DIR", directory)))
    end
  end
  add(more)
  add(t.no_master and {} or { "--master" })
  add(t.ini or { "--forksafe", "DIR/production.ini" })
  add(t.arguments or {})
  argv.env, argv.cwd = {}, directory
  for name, value in pairs(t.env or {}) do
    argv.env[name] = value:gsub("DIR", directory)
  end
  local server = support.spawn(argv)
  server.directory, server.ini, server.port = directory, directory .. "/production.ini", port
  return server
end

local function answering(server)
  return servers.answering(server, WORKERS, "/slow")
end

local function finish(server)
  return servers.finish(server, "INT")
end

-- What every event of a start carries. row.lazy: the application is loaded in the workers.
local function assert_fields(server, row, generation)
  servers.assert_fields(server, {
    workers = WORKERS, lazy = row.lazy, generation = generation, events = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" },
  })
end

-- The one description of a start: who is forked and who answers recorded it, and nobody else.
local function assert_hooked(server, row, seconds)
  local workers = answering(server)
  local object = servers.assert_recorded(server, { workers = workers, seconds = seconds, container = "uwsgi", hooks = {
    MasterReady = "master_fixup", PreFork = "pre_fork_hook", PostFork = "post_fork_hook", PostWorkerInit = "hijack_worker",
  } })
  assert.equal("uWSGI hook configured", object.status)
  assert.equal("uWSGI", object.environment)
  assert.same({ "uWSGI available", "uWSGI hook configured" }, object["autoconfigure.log"])
  assert.equal(1, #support.all_files(server.runtime_dir))
  assert_fields(server, row, 1)
  return object, workers
end

-- The plugin compiled from another source or with more flags, as this build compiled it: returns its directory.
local function built_plugin(source, flags)
  return (servers.compiled_again { file = SOURCE, source = source, name = "forksafe_plugin.so", flags = flags }:match "^(.*)/")
end

describe("uWSGI", function()
  local rows = {
    { name = "with a master", arguments = {} },
    { name = "with --threads 4", arguments = { "--threads", "4" } },
    { name = "with --lazy-apps", arguments = { "--lazy-apps" }, lazy = true },
    { name = "with the plugin before python's", plugins = { "forksafe", "python3" } },
    { name = "with --uid as root", arguments = { "--uid", "www-data", "--gid", "www-data" }, user = "www-data" },
    { name = "with --uid and --master-as-root", arguments = { "--uid", "www-data", "--master-as-root" }, user = "www-data" },
    { name = "with python's own fork hooks", arguments = { "--enable-threads", "--py-call-uwsgi-fork-hooks" } },
  }
  for _, row in ipairs(rows) do
    it(row.name .. " runs PreFork in the master, PostFork and PostWorkerInit in every worker", function()
      local _, workers = assert_hooked(start(row), row)
      local user = pwd.getpwnam(row.user or "root").pw_uid
      for _, pid in ipairs(workers) do
        assert.equal(user, stat.stat("/proc/" .. pid).st_uid)
      end
      assert.equal(user, stat.stat(support.all_files(support.runtime_dir())[1]).st_uid)
    end)
  end

  scenario.of {
    container = "uwsgi", path = "/slow", finish = finish,
    hooks = {
      MasterReady = "master_fixup", PreFork = "pre_fork_hook", PostFork = "post_fork_hook", PostWorkerInit = "hijack_worker",
      WorkerExit = "atexit", ChildExit = "master_cycle", Reload = "master_fixup", Shutdown = "master_cleanup",
    },
    start = function(hooks)
      return start { hooks = hooks }
    end,
  }

  it("has none of it without the one call of the plugin", function()
    local source, line = support.without_line(SOURCE, "forksafe_emit%(")
    assert.truthy(line:find("obey(forksafe_emit(event, &occasion), event);", 1, true))
    local server = start { plugin_dir = built_plugin(source) }
    support.fails(function()
      assert_hooked(server, {}, 2)
    end)
    assert.equal("uWSGI hook configured", support.debug(server.ini).status)
  end)

  it("without a master says so, runs no hook and serves", function()
    local server = start { no_master = true }
    local others = answering(server)
    for _, pid in ipairs(server:children()) do
      assert.not_equal(server.pid, pid)
      support.defer(function()
        signal.kill(pid, signal.SIGKILL) -- nobody else ends them
      end)
    end
    assert.truthy(table.concat(others, " "):find(tostring(server.pid), 1, true), "worker 1 is the original process")
    local object = support.debug(server.ini)
    local line = "uWSGI error: you have to enable the uWSGI master process to use this module"
    assert.equal("uWSGI error", object.status)
    assert.equal(support.null, object.environment)
    assert.same({ line }, object["autoconfigure.log"])
    assert.same({}, object.executed_hooks)
    assert.same({}, object.records)
    assert.equal(1, count(server:output(), "forksafe%[[%w.-]+%]: " .. line))
  end)

  it("loads the application before PostWorkerInit, not before PostFork, with --lazy-apps", function()
    local row = { arguments = { "--lazy-apps" }, lazy = true, env = { APP_IMPORT_SECONDS = "0.5" } }
    local object, workers = assert_hooked(start(row), row)
    for _, pid in ipairs(workers) do
      local _, loading = history(object, pid)
      assert.is_true(loading >= 0.5, "PostWorkerInit comes after the import: " .. tostring(loading))
    end
  end)

  it("finds its journal again after HUP with --uid, one generation up", function()
    local row = { arguments = { "--uid", "www-data", "--gid", "www-data" } }
    local server = start(row)
    local object, workers = assert_hooked(server, row)
    local info = support.info(server.pid)
    local journals = support.all_files(server.runtime_dir)
    support.write(server.directory .. "/hooks/second.lua", "forksafe.log.info('the second text')")
    server:signal "HUP"
    wait_said(server, "PostWorkerInit", 2 * WORKERS)
    assert_fields(server, row, 2)
    local reload = said(server, "Reload")
    assert.same({ server.pid }, pids_in(reload))
    assert.equal(2, reload[1].generation)
    assert.equal(1, count(server:output(), "the second text"))
    local later = answering(server)
    assert.same(later, server:children())
    for _, pid in ipairs(workers) do
      assert.is_false(support.alive(pid))
    end
    assert.same(info.start, support.info(server.pid).start)
    assert.same(journals, support.all_files(server.runtime_dir))
    local again = support.debug(server.ini)
    assert.equal(object.status, again.status)
    assert.same({ "uWSGI available", "uWSGI hook configured" }, again["autoconfigure.log"])
    assert.equal(2 * WORKERS, #support.pids_of(again, "ApplicationPostFork"))
    assert.equal("MasterReady PreFork PreFork PreFork ChildExit ChildExit ChildExit Reload MasterReady PreFork PreFork PreFork",
      (history(again, server.pid)))
  end)

  local ends = {
    { name = "SIGKILL", child = "nil/9", act = function(_, pid)
      signal.kill(pid, signal.SIGKILL)
    end },
    { name = "exit(3) in a request", child = "3/nil", act = function(server)
      support.http_get(server.port, "/exit3")
    end },
    -- uWSGI catches it, and ends the worker itself with 1.
    { name = "a segmentation fault in a request", child = "1/nil", act = function(server)
      support.http_get(server.port, "/segv")
    end },
  }
  for _, row in ipairs(ends) do
    it("tells a worker's end by " .. row.name .. " as ChildExit, and records the replacement in the same slot", function()
      local server = start {}
      local _, workers = assert_hooked(server, {})
      row.act(server, workers[1])
      local gone = wait_said(server, "ChildExit", 1)[1]
      local replacement = wait_said(server, "PostWorkerInit", WORKERS + 1)[WORKERS + 1]
      local _, _, pid, how = gone.child:find "^(%d+)/(.*)$"
      assert.equal(row.child, how)
      assert.truthy(table.concat(workers, " "):find(pid, 1, true))
      assert.equal(server.pid, gone.pid)
      assert.equal("master", gone.role)
      assert.equal(gone.worker, replacement.worker)
      assert.equal(gone.worker, said(server, "PreFork")[WORKERS + 1].worker)
      assert.same(answering(server), server:children())
      assert.equal(1, #said(server, "ChildExit"))
      assert.equal(0, #said(server, "WorkerExit")) -- none of them was an orderly end
    end)
  end

  it("tells each end once when all workers end at the same time", function()
    local server = start {}
    local _, workers = assert_hooked(server, {})
    for _, pid in ipairs(workers) do
      signal.kill(pid, signal.SIGKILL)
    end
    wait_said(server, "PostWorkerInit", 2 * WORKERS)
    local told = {}
    for _, one in ipairs(said(server, "ChildExit")) do
      table.insert(told, tonumber(one.child:match "^(%d+)/"))
    end
    table.sort(told)
    assert.same(workers, told)
  end)

  it("runs WorkerExit, ChildExit and Shutdown at an orderly end, and leaves nothing running", function()
    local server = start {}
    local _, workers = assert_hooked(server, {})
    assert.equal(0, finish(server))
    assert.same(workers, pids_in(said(server, "WorkerExit")))
    assert.equal(WORKERS, #said(server, "ChildExit"))
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
    local object = support.debug(server.ini, { previous = true })
    assert.same(workers, support.pids_of(object, "ApplicationWorkerExit"))
    assert.equal("MasterReady PreFork PreFork PreFork ChildExit ChildExit ChildExit Shutdown", (history(object, server.pid)))
    assert.same({}, support.orphans())
  end)

  it("counts no process that is not a worker as one", function()
    local server = start {
      plugins = { "python3", "http", "forksafe" },
      arguments = { "--attach-daemon", "sleep 60", "--mule", "--spooler", "DIR/spool", "--http", "127.0.0.1:" .. support.free_port() },
    }
    answering(server)
    assert.equal(WORKERS + 4, #server:children())
    for _, path in ipairs { "/system", "/fork" } do
      assert.equal(200, (support.http_get(server.port, path)))
    end
    local forked = wait_said(server, "PostFork", WORKERS + 2)
    local roles = {}
    for _, one in ipairs(forked) do
      roles[one.role] = (roles[one.role] or 0) + 1
      assert.equal(one.role == "worker", one.worker ~= nil)
    end
    assert.same({ worker = WORKERS, helper = 2 }, roles) -- the mule and the spooler
    assert.equal(WORKERS, #said(server, "PreFork"))
    assert.equal(WORKERS, #said(server, "PostWorkerInit"))
    assert.equal(0, #said(server, "WorkerExit"))
    assert.equal(0, #said(server, "ChildExit"))
  end)

  it("is silent in a child that the application forks while a worker loads it", function()
    local row = { arguments = { "--lazy-apps" }, lazy = true, env = { APP_FORKS = "yes" } }
    local server = start(row)
    assert_hooked(server, row)
    assert.equal(0, #said(server, "WorkerExit"))
    assert.equal(0, finish(server))
    assert.equal(WORKERS, #said(server, "WorkerExit"))
  end)

  for _, option in ipairs { "--daemonize", "--daemonize2" } do
    it("takes the daemon for the master with " .. option, function()
      local log = support.tmpdir() .. "/log"
      local server = start { arguments = { option, log, "--pidfile", "DIR/pid" } }
      assert.equal("exited", (server:wait()))
      server.log = log
      wait_said(server, "PostWorkerInit", WORKERS)
      local daemon = support.adopt(tonumber(support.read(server.directory .. "/pid")), "INT")
      assert.same({ daemon.pid }, pids_in(said(server, "MasterReady")))
      assert.same(daemon:children(), pids_in(said(server, "PostFork")))
      assert.equal(1, #support.all_files(server.runtime_dir))
      assert.same(daemon:children(), support.pids_of(support.debug(daemon.pid), "ApplicationPostFork"))
      assert.is_true(daemon:stop())
    end)
  end

  it("serves without hooks when the ini is bad, and says in one line where", function()
    local server = start { keys = "forksafe.scripts = %(nowhere)s/hooks" }
    assert.equal(WORKERS, #answering(server))
    assert.equal(1, count(server:output(), "\nforksafe[^\n]*production%.ini:3"))
    assert.equal(1, count(server:output(), "\nforksafe"))
  end)

  it("does not start when the ini is bad and forksafe is required", function()
    local server = start { keys = "forksafe.required = true\nforksafe.scripts = nowhere" }
    assert.same({ "exited", 1 }, { server:wait() }, server:output())
    assert.is_nil((support.http_get(server.port)))
  end)

  it("serves without hooks when there is no ini, and says so in one line", function()
    local server = start { ini = {} }
    assert.equal(WORKERS, #answering(server))
    assert.equal(1, count(server:output(), "\nforksafe: no ini and so no hooks; start uWSGI with %-%-forksafe INI%[#APP%]\n"))
    assert.equal(1, count(server:output(), "\nforksafe"))
  end)

  local sources = {
    { name = "--forksafe with a path that --chdir does not change", ini = { "--forksafe", "production.ini", "--chdir", "/" } },
    { name = "--ini-paste", ini = { "--ini-paste", "production.ini", "--chdir", "/" } },
    { name = "--paste", ini = { "--paste", "config:DIR/production.ini" } },
    { name = "FORKSAFE_INI", ini = { "--chdir", "/" }, env = { FORKSAFE_INI = "production.ini" } },
    { name = "--forksafe before --ini-paste and FORKSAFE_INI", env = { FORKSAFE_INI = "nowhere.ini" },
      ini = { "--forksafe", "DIR/production.ini", "--paste", "config:DIR/nowhere.ini" } },
  }
  for _, row in ipairs(sources) do
    it("reads the ini of " .. row.name, function()
      local server = start(row)
      wait_said(server, "PostWorkerInit", WORKERS)
      assert.equal("uWSGI hook configured", support.debug(server.ini).status)
    end)
  end

  it("reads another application of the ini with #APP", function()
    local server = start {
      keys = "[app:other]\npaste.app_factory = app:make_app\nforksafe.scripts = %(here)s/hooks",
      ini = { "--forksafe", "DIR/production.ini#other" },
    }
    wait_said(server, "PostWorkerInit", WORKERS)
  end)

  it("serves without hooks when the plugin was built for another uWSGI, and says so in one line", function()
    local server = start { plugin_dir = built_plugin(SOURCE, [[-UUWSGI_VERSION '-DUWSGI_VERSION="1.9-other"']]) }
    assert.equal(WORKERS, #answering(server))
    local lines = "\n" .. server:output() -- it may be the first one
    assert.equal(1, count(lines, "\nforksafe: no hooks: forksafe_plugin.so was built for uWSGI 1%.9%-other"))
    assert.equal(1, count(lines, "\nforksafe"))
    assert.equal(0, #support.all_files(server.runtime_dir))
  end)

  it("is installed where uWSGI looks, with a library that it finds there", function()
    servers.assert_installed(function(prefix)
      return start { plugin_dir = prefix .. "/lib/uwsgi/plugins" }
    end, WORKERS)
  end)

  it("runs the example as its README says", function()
    local example, directory, port = support.paths.root .. "/examples/uwsgi", support.tmpdir(), support.free_port()
    for _, path in ipairs(support.all_files(example)) do
      local text = support.read(path):gsub("127%.0%.0%.1:8080", "127.0.0.1:" .. port)
        :gsub("%%d[./]*build/adapters/uwsgi", function()
          return PLUGIN_DIR
        end)
      support.write(directory .. path:sub(#example + 1), text)
    end
    local server = support.spawn { support.paths.uwsgi, "--ini", "production.ini", cwd = directory }
    for worker = 1, WORKERS do
      server:wait_for(("forksafe%%[production%%-%%x+%%]: worker %d up as process %%d+, database 10%%.0%%.0%%.5\n"):format(worker))
    end
    local pid = support.http_wait(port):match "^served by process (%d+)\n$"
    signal.kill(tonumber(pid), signal.SIGKILL)
    server:wait_for("worker %d %(process " .. pid .. "%) was ended by signal 9\n")
  end)
end)
