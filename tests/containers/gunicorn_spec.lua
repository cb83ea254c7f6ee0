-- SPDX-License-Identifier: MIT
--
-- gunicorn as a user runs it: Debian's own, with config.py and a Paste ini, real requests. What the hooks recorded is
-- compared with the master's children in /proc and with the pids in the answers.
local signal = require "posix.signal"
local scenario = require "support.scenario"
local servers = require "support.server"
local support = require "support"

local count, has, history, pids_in, said, wait_said, finish = servers.count, servers.has, servers.history, servers.pids_in, servers.said,
  servers.wait_said, servers.finish

local GUNICORN = support.paths.gunicorn
-- Since 24 its handlers only queue signals, which the main loop sees when all workers are forked.
local QUEUES_SIGNALS = tonumber(support.must_run({ GUNICORN, "--version" }):match "version (%d+)") >= 24
local HERE = support.paths.data .. "/gunicorn"

local THREE = "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n"
local ALL = THREE .. "from forksafe.containers.gunicorn import when_ready, worker_exit, child_exit, on_reload, on_exit\n"

-- A directory with hooks (text by file name), config.py and production.ini.
local function application(t)
  local directory = servers.application(t.hooks)
  support.write(directory .. "/config.py", t.config or THREE)
  support.write(directory .. "/production.ini", "[app:main]\nuse = call:slow_app:factory\n"
    .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  return directory
end

-- Starts gunicorn with 3 workers: t.hooks, t.config, t.keys (lines of the ini), t.package, t.env, t.arguments (a list), and t.app for a
-- plain application instead of the ini's; t.program for another way to start it.
local function start(t)
  local directory, port = application(t), support.free_port()
  local env = { PYTHONPATH = (t.package or support.paths.python) .. ":" .. HERE }
  for name, value in pairs(t.env or {}) do
    env[name] = value:gsub("HERE", directory)
  end
  local argv = t.program and t.program(directory, port) or {
    GUNICORN, "--config", "config.py", "--workers", "3", "--graceful-timeout", "4", "--pid", directory .. "/pid",
    "--bind", "127.0.0.1:" .. port, unpack(t.app and { t.app } or { "--paste", "production.ini" }),
  }
  argv.env, argv.cwd, argv.uid = env, directory, t.uid
  for _, argument in ipairs(t.arguments or {}) do
    table.insert(argv, argument)
  end
  local server = support.spawn(argv)
  server.directory, server.ini, server.port = directory, directory .. "/production.ini", port
  return server
end

local function answering(server)
  return servers.answering(server, 3)
end

-- The one description of a start: who is forked and who answers recorded it, and nobody else.
local function assert_hooked(server)
  local workers = answering(server)
  return servers.assert_recorded(server, { workers = workers, seconds = 5, container = "gunicorn", hooks = {
    PreFork = "pre_fork", PostFork = "post_fork", PostWorkerInit = "post_worker_init",
  } }), workers
end

-- A copy of the package, with _build.py naming another library.
local function package_with_library(path)
  local copy = support.tmpdir()
  for _, file in ipairs(support.all_files(support.paths.python)) do
    if file:find "%.py$" then
      local text = support.read(file)
      if file:find "/_build%.py$" then
        text = text .. ("\nLIBRARY = %q\n"):format(path)
      end
      support.write(copy .. file:sub(#support.paths.python + 1), text)
    end
  end
  return copy
end

describe("gunicorn", function()
  local rows = {
    { name = "as it comes", arguments = {} },
    { name = "with --preload", arguments = { "--preload" }, preload = true },
    { name = "with gthread workers", arguments = { "--worker-class", "gthread", "--threads", "2" } },
    { name = "with gthread workers and --preload", arguments = { "--threads", "2", "--preload" }, preload = true },
  }
  for _, row in ipairs(rows) do
    it(row.name .. " runs PreFork in the master, PostFork and PostWorkerInit in every worker", function()
      local server = start { arguments = row.arguments }
      local object, workers = assert_hooked(server)
      for _, event in ipairs { "PreFork", "PostFork", "PostWorkerInit" } do
        local list = said(server, event)
        assert.equal(3, #list)
        for slot, one in ipairs(list) do
          assert.equal(event == "PreFork" and "master" or "worker", one.role)
          assert.equal(event ~= "PreFork", one.forked)
          assert.equal(row.preload or event == "PostWorkerInit", one.loaded)
          assert.equal(event == "PreFork" and slot or one.worker, one.worker)
        end
      end
      for _, pid in ipairs(workers) do
        local _, loading = history(object, pid)
        assert.is_true(row.preload or loading >= 0.5, "PostWorkerInit comes after the import: " .. loading)
        assert.equal(not row.preload, count(server:stdout(), "imported in " .. pid .. "\n") == 1)
      end
      assert.equal(row.preload and 1 or 0, count(server:stdout(), "imported in " .. server.pid .. "\n"))
      assert.equal("gunicorn hook configured", object.status)
      assert.equal("gunicorn", object.environment)
      assert.same({ "gunicorn available", "gunicorn hook configured" }, object["autoconfigure.log"])
      assert.equal(0, finish(server))
    end)
  end

  scenario.of {
    container = "gunicorn",
    hooks = {
      MasterReady = "when_ready", PreFork = "pre_fork", PostFork = "post_fork", PostWorkerInit = "post_worker_init",
      WorkerExit = "worker_exit", ChildExit = "child_exit", Reload = "on_reload", Shutdown = "on_exit",
    },
    start = function(hooks)
      return start { hooks = hooks, config = ALL }
    end,
  }

  it("is not hooked without the adapter's one call into the library", function()
    local package = support.without_line(support.paths.python, "call%(self%.library%.forksafe_emit")
    local server = start { package = package }
    answering(server)
    support.fails(function()
      assert_hooked(server)
    end)
  end)

  it("runs the hooks under pserve, where the application is loaded first", function()
    local server = start {
      keys = "forksafe.scripts = %(here)s/hooks\n[server:main]\nuse = egg:gunicorn#main\nworkers = 3\nconfig = config.py\nbind = 127.0.0.1:%(http_port)s",
      program = function(_, port)
        local argv = { unpack(support.paths.pserve) }
        table.insert(argv, "production.ini")
        table.insert(argv, "http_port=" .. port)
        return argv
      end,
    }
    assert_hooked(server)
    for _, one in ipairs(said(server, "PreFork")) do
      assert.is_true(one.loaded)
    end
  end)

  it("serves INI#APP with that application's settings", function()
    local server = start {
      keys = "[app:admin]\nuse = call:slow_app:factory\nforksafe.scripts = %(here)s/hooks\ncolour = green",
      hooks = { ["colour.postfork.lua"] = "return function(event) forksafe.log.info('it is %s', event.registry.settings.colour) end" },
      arguments = { "--paste", "production.ini#admin" },
    }
    answering(server)
    assert.equal(3, count(server:stderr(), "it is green\n"))
  end)

  it("takes the ini of FORKSAFE_INI for an application without one", function()
    local server = start { app = "slow_app:application", env = { FORKSAFE_INI = "HERE/production.ini" } }
    assert_hooked(server)
  end)

  it("serves, and says so in one line, where no ini is named", function()
    local server = start { app = "slow_app:application" }
    answering(server)
    assert.equal(1, count(server:output(), "forksafe[^\n]*\n"))
    assert.truthy(server:stderr():find "%[INFO%] forksafe%[%-%]: no ini: ")
    assert.equal(0, finish(server))
  end)

  it("runs the hooks of workers that change their user", function()
    local server = start { arguments = { "--user", "nobody", "--group", "nogroup" } }
    local _, workers = assert_hooked(server)
    for _, pid in ipairs(workers) do
      assert.truthy(support.read("/proc/" .. pid .. "/status"):find "\nUid:%s+65534%s")
    end
  end)
end)

describe("a master", function()
  -- Another master than the one that was spawned, by gunicorn's pid file.
  local function adopt_master(server, name)
    local pid = support.eventually("a new master", function()
      local found = tonumber(support.read(server.directory .. "/" .. name) or "")
      return found and found ~= server.pid and found
    end)
    local process
    support.eventually("it is ours", function()
      process = support.adopt(pid)
      return process
    end)
    return process
  end

  it("that daemonises opens forksafe when it is the master, and its workers are hooked", function()
    local server = start { arguments = { "--daemon", "--error-logfile", "log" } }
    local master = adopt_master(server, "pid")
    server.pid, server.children = master.pid, master.children
    local object = assert_hooked(server)
    assert.equal(1, #object.masters)
    assert.equal(master.pid, object.masters[1].pid)
  end)

  it("that USR2 starts beside the old one has its own journal, and both are shown", function()
    local server = start { config = ALL }
    local old = answering(server)
    server:signal "USR2"
    wait_said(server, "PostWorkerInit", 6)
    local object = support.debug(server.ini)
    assert.equal(2, #object.masters)
    assert.equal(6, #support.pids_of(object, "ApplicationPostFork"))
    assert.equal(0, finish(server))
    local master = adopt_master(server, "pid")
    local new = answering(server)
    assert.same(new, master:children())
    object = support.debug(server.ini)
    assert.same(new, support.pids_of(object, "ApplicationPostWorkerInit"))
    assert.is_false(has(new, old[1]))
    assert.same({ [master.pid] = true, [server.pid] = true },
      { [said(server, "MasterReady")[1].pid] = true, [said(server, "MasterReady")[2].pid] = true })
  end)
end)

describe("HUP", function()
  local CHANGED = "return function() forksafe.log.info('the changed hook') end\n"

  for name, config in pairs { ["with three hooks imported"] = THREE, ["with all hooks imported"] = ALL } do
    it(name .. " reads the scripts again, once, and forks workers 1 to 3", function()
      local server = start { config = config, hooks = { ["postfork.lua"] = "return function() end\n" } }
      local old = answering(server)
      local function hash()
        for _, subscriber in ipairs(support.debug(server.ini).subscribers) do
          if subscriber.path:find "/postfork%.lua$" then
            return subscriber.hash
          end
        end
      end
      local before = hash()
      support.write(server.directory .. "/hooks/postfork.lua", CHANGED)
      server:signal "HUP"
      support.eventually("the old workers are gone", function()
        local children = server:children()
        return #children == 3 and not (has(children, old[1]) or has(children, old[2]) or has(children, old[3]))
      end)
      local new = answering(server)
      assert.same(new, server:children())
      assert.equal(3, count(server:stderr(), "the changed hook"))
      assert.are_not.equal(before, hash())
      local reloads = said(server, "Reload")
      assert.equal(1, #reloads)
      assert.equal(2, reloads[1].generation)
      local slots = {}
      local forked = said(server, "PostFork")
      assert.equal(6, #forked)
      for i = 4, 6 do
        assert.equal(2, forked[i].generation)
        slots[forked[i].worker] = true
      end
      assert.same({ true, true, true }, slots)
      assert.equal(6, #said(server, "PreFork"))
      local object = support.debug(server.ini)
      assert.equal(1, #object.masters)
      assert.equal(2, object.masters[1].generation)
      assert.equal(6, object.masters[1].forks.worker)
      for _, hook in ipairs(object.hooks) do
        if hook.event == "ApplicationReload" then
          assert.equal(1, hook.runs)
        end
      end
    end)
  end

  it("keeps the old scripts where the new ones do not load, and the server serves", function()
    local server = start { hooks = { ["postfork.lua"] = "return function() forksafe.log.info('the old hook') end\n" } }
    answering(server)
    support.write(server.directory .. "/hooks/postfork.lua", "this is no Lua\n")
    server:signal "HUP"
    wait_said(server, "PostFork", 6)
    support.eventually("the old hook in the new workers", function()
      return count(server:stderr(), "the old hook") == 6
    end)
    for _, one in ipairs(said(server, "PostFork")) do
      assert.equal(1, one.generation)
    end
    answering(server)
  end)

  it("takes back what the ini lacked at the start", function()
    local server = start { keys = "forksafe.max_workers = many" }
    answering(server)
    assert.equal(0, #said(server, "PostFork"))
    support.write(server.ini, (support.read(server.ini):gsub("forksafe.max_workers = many", "forksafe.scripts = %%(here)s/hooks")))
    server:signal "HUP"
    assert.same(pids_in(wait_said(server, "PostFork", 3)), answering(server))
  end)
end)

describe("a worker", function()
  it("that was killed is replaced by one with its number", function()
    local server = start { config = ALL }
    answering(server)
    local victim = said(server, "PostFork")[2]
    signal.kill(victim.pid, signal.SIGKILL)
    local replacement = wait_said(server, "PostFork", 4)[4]
    assert.equal(victim.worker, replacement.worker)
    assert.are_not.equal(victim.pid, replacement.pid)
    assert.same(answering(server), server:children())
  end)

  it("that was killed is replaced by one with its number where child_exit is not imported", function()
    local server = start {}
    answering(server)
    local victim = said(server, "PostFork")[1]
    signal.kill(victim.pid, signal.SIGKILL)
    assert.equal(victim.worker, wait_said(server, "PostFork", 4)[4].worker)
  end)

  for name, number in pairs { SIGKILL = signal.SIGKILL, SIGSEGV = signal.SIGSEGV } do
    it("ended by " .. name .. " gives ChildExit with that signal in the master", function()
      local server = start { config = ALL }
      answering(server)
      local victim = said(server, "PostFork")[1]
      signal.kill(victim.pid, number)
      local exit = wait_said(server, "ChildExit", 1)[1]
      assert.equal(server.pid, exit.pid)
      assert.equal(victim.worker, exit.worker)
      assert.equal(("%d/nil/%d"):format(victim.pid, number), exit.child)
    end)
  end

  it("that ends in order runs WorkerExit, and its status is in ChildExit", function()
    local server = start { config = ALL }
    answering(server)
    assert.equal(1, #wait_said(server, "MasterReady", 1))
    local victim = said(server, "PostFork")[1]
    signal.kill(victim.pid, signal.SIGQUIT)
    assert.equal(victim.pid, wait_said(server, "WorkerExit", 1)[1].pid)
    assert.equal(victim.pid .. "/0/nil", wait_said(server, "ChildExit", 1)[1].child)
    wait_said(server, "PostWorkerInit", 4)
    assert.equal(0, finish(server))
    assert.equal(4, #said(server, "WorkerExit"))
    assert.equal(4, #said(server, "ChildExit"))
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
  end)
end)

describe("on_error", function()
  for _, event in ipairs { "MasterReady", "PreFork", "PostFork", "PostWorkerInit", "ChildExit", "Reload" } do
    it("= stop_server at " .. event .. " ends the server in order", function()
      local server = start { config = ALL, hooks = { ["stop.lua"] = ([[
        forksafe.subscribe("Application%s", function() error "no" end, { name = "stop", on_error = "stop_server" })
      ]]):format(event) } }
      if event == "ChildExit" then
        answering(server)
        signal.kill(server:children()[1], signal.SIGKILL)
      elseif event == "Reload" then
        answering(server)
        server:signal "HUP"
      end
      local how, code = server:wait(10)
      assert.equal("exited", how)
      local from_worker, by_signal = event:find "^Post", event == "ChildExit" or event == "Reload"
      assert.equal(from_worker and 3 or by_signal and 0 or 1, code, server:output())
      assert.equal(1, count(server:stderr(), "Shutting down: Master"))
      assert.equal(1, #said(server, "Shutdown"))
      assert.equal(from_worker and 1 or 0, count(server:stderr(), "child=%d+/3/nil%."), "ChildExit with the status that says it")
      assert.is_nil(support.read(server.directory .. "/pid"))
      assert.is_nil(server:output():find "Traceback")
    end)
  end
end)

describe("what gunicorn's signal handlers raise", function()
  it("while a subscriber logs is not lost: a worker that fails at boot stops the server", function()
    local server = start { keys = "forksafe.scripts = %(here)s/hooks\nforksafe.time_limit = 20s", hooks = { ["busy.lua"] = [[
      local forks = 0
      forksafe.subscribe("ApplicationPreFork", function()
        forks = forks + 1
        for i = 1, forks == 2 and 40000 or 0 do forksafe.log.info("busy %d", i) end
      end, { name = "busy" })
      forksafe.subscribe("ApplicationPostFork", function()
        for i = 1, forks == 1 and 3e7 or 0 do end
        error "not fit"
      end, { name = "fail", on_error = "stop_server" })
    ]] } }
    assert.same({ "exited", 3 }, { server:wait(10) })
    local busy = count(server:stderr(), "busy %d+\n")
    assert.is_true(busy > 100, busy .. " lines")
    assert.equal(QUEUES_SIGNALS and 3 or 1, #said(server, "PostFork"))
    assert.equal(1, count(server:stderr(), "Reason: Worker failed to boot%."))
  end)
end)

describe("a failure of forksafe", function()
  it("in the ini is one line, and the server serves", function()
    local server = start { keys = "forksafe.max_workers = many" }
    answering(server)
    assert.equal(1, count(server:output(), "forksafe[^\n]*\n"), server:output())
    assert.truthy(server:stderr():find "%[ERROR%] forksafe%[[%w-]+%]: [^\n]*production%.ini:3")
    assert.equal(0, finish(server))
  end)

  for name, config in pairs { ["with three hooks"] = THREE, ["with all hooks"] = ALL } do
    it("in the ini stops gunicorn where it is required, " .. name, function()
      local server = start { config = config, keys = "forksafe.required = true\nforksafe.max_workers = many" }
      local how, code = server:wait(10)
      assert.same({ "exited", 1 }, { how, code })
      assert.equal(0, count(server:stdout(), "imported"))
      assert.is_nil(server:output():find "Traceback")
      assert.is_nil(server:output():find "Booting worker")
      assert.equal(1, count(server:stderr(), "Reason: forksafe cannot work, and the ini says forksafe%.required = true"))
    end)
  end

  it("is not what FORKSAFE=off is: one line, and the server serves", function()
    local server = start { env = { FORKSAFE = "off" }, keys = "forksafe.scripts = %(here)s/hooks\nmark = yes" }
    answering(server)
    assert.equal(1, count(server:output(), "forksafe[^\n]*\n"))
    assert.equal("switched off by FORKSAFE=off in the environment", support.debug(server.ini).status)
  end)

  it("in a script leaves the others running", function()
    local server = start { hooks = { ["broken.postfork.lua"] = "return function() nothing.at.all() end" } }
    local workers = answering(server)
    assert.same(workers, pids_in(said(server, "PostFork")))
    assert.truthy(server:stderr():find "broken%.postfork%.lua:1: ")
  end)

  it("to be found is one line, and the server serves", function()
    local server = start { package = package_with_library "/nonexistent/libforksafe.so.0", keys = "mark = yes" }
    answering(server)
    assert.equal(1, count(server:output(), "libforksafe cannot be loaded: [^\n]*\n"))
    assert.is_nil(server:output():find "Traceback")
    assert.equal(0, finish(server))
  end)

  it("to be opened in the master, since pre_fork is not imported, is made up for in the workers", function()
    local server = start { config = "from forksafe.containers.gunicorn import post_fork, post_worker_init\n" }
    local workers = answering(server)
    assert.same(workers, pids_in(said(server, "PostFork")))
    assert.same(workers, pids_in(said(server, "PostWorkerInit")))
  end)
end)

describe("mark_configured", function()
  local cjson = require "cjson"

  for name, arguments in pairs { ["in a worker"] = {}, ["in a preloading master"] = { "--preload" } } do
    it(name .. " says so in the debug object, which hangs on the registry", function()
      local server = start { keys = "mark = yes\nforksafe.scripts = %(here)s/hooks", arguments = arguments }
      local object = assert_hooked(server)
      assert.equal("gunicorn mark_configured", object.status)
      assert.equal("gunicorn", object.environment)
      assert.same({ "gunicorn available", "gunicorn hook configured", "gunicorn mark_configured" }, object["autoconfigure.log"])
      local views = cjson.decode((support.http_wait(server.port, "/debug")))
      assert.same(views.forksafe.executed_hooks, views.pyramid_forksafe.executed_hooks)
      for _, key in ipairs { "status", "environment", "executed_hooks", "autoconfigure.log", "schema", "instance" } do
        assert.same(object[key], views.forksafe[key])
      end
    end)
  end
end)
