-- SPDX-License-Identifier: MIT
--
-- Unicorn as a user runs it: Debian's own, with one line in its configuration, a Paste ini and real requests. What the hooks recorded is
-- compared with the master's children in /proc and with the pids in the answers.
local signal = require "posix.signal"
local servers = require "support.server"
local support = require "support"
local unicorn = require "support.unicorn"

local count, has, history, pids_in, said, wait_said, finish = servers.count, servers.has, servers.history, servers.pids_in, servers.said,
  servers.wait_said, servers.finish

local start, ATTACH = unicorn.start, unicorn.ATTACH

local function answering(server)
  return servers.answering(server, 3)
end

local function ready(server)
  return pids_in(wait_said(server, "PostWorkerInit", 3))
end

-- The master that runs beside another one, or that has daemonised, by its pid file.
local function adopt_master(server)
  local pid = support.eventually("a master of its own", function()
    local found = tonumber(support.read(server.directory .. "/pid") or "")
    return found and found ~= server.pid and found
  end)
  return (support.eventually("it is ours", function()
    return support.adopt(pid, "QUIT")
  end))
end

-- The one description of a start: who is forked and who answers recorded it, and nobody else.
local function assert_hooked(server, seconds)
  local workers = answering(server)
  return servers.assert_recorded(server, { workers = workers, seconds = seconds or 5, container = "unicorn", hooks = {
    MasterReady = "before_fork", PreFork = "before_fork", PostFork = "after_fork", PostWorkerInit = "after_worker_ready",
  } }), workers
end

describe("Unicorn", function()
  for name, preload in pairs { ["as it comes"] = false, ["with preload_app"] = true } do
    it(name .. " runs MasterReady and PreFork in the master, PostFork and PostWorkerInit in every worker", function()
      local server = start { config = ("preload_app %s\n"):format(preload) }
      local object, workers = assert_hooked(server)
      servers.assert_fields(server, {
        workers = 3, lazy = not preload, events = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" },
      })
      for _, pid in ipairs(workers) do
        local _, loading = history(object, pid)
        assert.is_true(preload or loading >= 0.5, "PostWorkerInit comes after the application: " .. loading)
        assert.equal(preload and 0 or 1, count(server:output(), "loaded in " .. pid .. "\n"))
      end
      assert.equal("Unicorn hook configured", object.status)
      assert.equal("Unicorn", object.environment)
      local seen = require("cjson").decode((support.http_wait(server.port, "/debug")))
      assert.same(object.executed_hooks, seen.executed_hooks)
      assert.equal(0, finish(server, "QUIT"))
      assert.same(workers, pids_in(said(server, "WorkerExit")))
      assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
      assert.equal(3, count(server:output(), "child=%d+/0/nil"))
    end)
  end

  it("is not hooked without the adapter's one call into the library", function()
    local server = start { package = support.without_line(support.paths.ruby, 'guard%("forksafe_emit"') }
    answering(server)
    support.fails(function()
      assert_hooked(server, 1)
    end)
  end)

  it("has our hooks beside the user's, wherever those stand, also after HUP", function()
    local theirs = "%s { |*arguments| arguments[0].logger.info('theirs: %s %s') }\n"
    local function all(place)
      return theirs:format("before_fork", "before_fork", place) .. theirs:format("after_fork", "after_fork", place)
        .. theirs:format("after_worker_ready", "after_worker_ready", place) .. theirs:format("after_worker_exit", "after_worker_exit", place)
    end
    for _, place in ipairs { "before", "after" } do
      local lines = all(place):gsub("|%*arguments|", "|server, worker|"):gsub("arguments%[0%]", "server")
        :gsub("(after_worker_exit {) |server, worker|", "%1 |server, worker, status|")
      local server = start { attach = place == "before" and lines .. ATTACH or ATTACH .. lines }
      assert_hooked(server)
      server:signal "HUP"
      wait_said(server, "PostWorkerInit", 6)
      assert.equal(6, #said(server, "PreFork"))
      assert.equal(0, finish(server, "QUIT"))
      for hook, number in pairs { before_fork = 6, after_fork = 6, after_worker_ready = 6, after_worker_exit = 6 } do
        assert.equal(number, count(server:output(), "theirs: " .. hook .. " " .. place))
      end
      assert.equal(6, #said(server, "ChildExit"))
      assert.equal(1, #said(server, "MasterReady"))
    end
  end)

  it("takes the ini of FORKSAFE_INI where its configuration names none", function()
    assert_hooked(start {
      attach = "require 'forksafe/unicorn'\nForksafe::Unicorn.attach(self)\n", env = { FORKSAFE_INI = "HERE/production.ini" },
    })
  end)

  it("runs the hooks of workers that change their user", function()
    local server = start { config = "user 'nobody', 'nogroup'\n" }
    local _, workers = assert_hooked(server)
    for _, pid in ipairs(workers) do
      assert.truthy(support.read("/proc/" .. pid .. "/status"):find "\nUid:%s+65534%s")
    end
  end)

  it("that executes its workers has them recorded in the master's journal", function()
    local server = start { config = "worker_exec true\n", no_pid = true } -- Unicorn's executed workers stumble over a pid file
    local workers = answering(server)
    wait_said(server, "PostWorkerInit", 3)
    assert.same(workers, pids_in(said(server, "PostFork")))
    assert.same(workers, pids_in(said(server, "PostWorkerInit")))
    local object = support.debug(server.pid)
    assert.same({ 1, server.pid }, { #object.masters, object.masters[1].pid })
    assert.equal(0, finish(server, "QUIT"))
  end)

  it("that daemonises opens forksafe when it is the master", function()
    local server = start { arguments = { "-D" }, config = "stderr_path 'log'\nstdout_path 'log'\n" }
    local master = adopt_master(server)
    server.log, server.pid, server.children = server.directory .. "/log", master.pid, master.children
    assert_hooked(server)
  end)

  for _, name in ipairs { "TERM", "INT" } do
    it("that " .. name .. " ends runs Shutdown, and no WorkerExit: its workers end at once", function()
      local server = start {}
      ready(server)
      assert.equal(0, finish(server, name))
      assert.equal(0, #said(server, "WorkerExit"))
      assert.equal(3, #said(server, "ChildExit"))
      assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
    end)
  end
end)

describe("a worker", function()
  local ends = {
    { name = "SIGKILL", child = "nil/9", signal = signal.SIGKILL },
    { name = "SIGSEGV", child = "nil/" .. signal.SIGABRT, signal = signal.SIGSEGV }, -- Ruby tells of it, and aborts
    { name = "exit 3", child = "3/nil" },
  }
  it("that ends is told as ChildExit with its status, in the master, and its replacement has its number", function()
    local server = start {}
    local workers = answering(server)
    for i, row in ipairs(ends) do
      if row.signal then
        signal.kill(workers[i], row.signal)
      else
        support.http_get(server.port, "/exit")
      end
      local exit = wait_said(server, "ChildExit", i)[i]
      local replacement = wait_said(server, "PostWorkerInit", 3 + i)[3 + i]
      assert.same({ server.pid, "master", replacement.worker }, { exit.pid, exit.role, exit.worker }, row.name)
      assert.equal(row.child, exit.child:match "/(.*)", row.name)
    end
    assert.equal(workers[1] .. "/nil/9", said(server, "ChildExit")[1].child)
    assert.same(answering(server), server:children())
    assert.equal(0, #said(server, "WorkerExit"))
  end)

  it("that TTIN adds and TTOU takes away has the next number", function()
    local server = start {}
    ready(server)
    server:signal "TTIN"
    assert.equal(4, wait_said(server, "PostWorkerInit", 4)[4].worker)
    server:signal "TTOU"
    assert.equal(4, wait_said(server, "WorkerExit", 1)[1].worker)
    assert.equal(4, wait_said(server, "ChildExit", 1)[1].worker)
    assert.same(answering(server), server:children())
  end)
end)

describe("HUP", function()
  it("reads the scripts again, once, and every worker is of the new generation", function()
    local server = start { hooks = { ["postfork.lua"] = "return function() end\n" } }
    local old = answering(server)
    support.write(server.directory .. "/hooks/postfork.lua", "return function() forksafe.log.info('the changed hook') end\n")
    server:signal "HUP"
    wait_said(server, "PostWorkerInit", 6)
    local new = answering(server)
    assert.same(new, server:children())
    assert.is_false(has(new, old[1]) or has(new, old[2]) or has(new, old[3]))
    assert.equal(3, count(server:output(), "the changed hook"))
    servers.assert_fields(server, { workers = 3, lazy = true, generation = 2, events = { "PreFork", "PostFork", "PostWorkerInit" } })
    local reloads = said(server, "Reload")
    assert.same({ 1, server.pid, 2 }, { #reloads, reloads[1].pid, reloads[1].generation })
    assert.equal(1, #said(server, "MasterReady"))
  end)

  it("keeps the old scripts where the new ones do not load, and the server serves", function()
    local server = start { hooks = { ["postfork.lua"] = "return function() forksafe.log.info('the old hook') end\n" } }
    ready(server)
    support.write(server.directory .. "/hooks/postfork.lua", "this is no Lua\n")
    server:signal "HUP"
    wait_said(server, "PostWorkerInit", 6)
    assert.equal(6, count(server:output(), "the old hook"))
    answering(server)
  end)
end)

describe("USR2", function()
  it("starts a master with a journal of its own, beside the old one", function()
    local server = start {}
    local old = answering(server)
    server:signal "USR2"
    wait_said(server, "PostWorkerInit", 6)
    local object = support.debug(server.ini)
    assert.equal(2, #object.masters)
    assert.same({ 1, 1 }, { object.masters[1].generation, object.masters[2].generation })
    local master = adopt_master { pid = server.pid, directory = server.directory, finish(server, "QUIT") }
    local new = answering(server)
    assert.same(new, master:children())
    assert.is_false(has(new, old[1]))
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
    assert.same(old, pids_in(said(server, "WorkerExit")))
  end)
end)

describe("on_error = retire_worker", function() -- the rest is in on_error_spec.lua
  it("ends the worker with status 1, after WorkerExit", function()
    local server = start { hooks = { ["fail.lua"] = [[
      local forks = 0
      forksafe.subscribe("ApplicationPreFork", function() forks = forks + 1 end)
      forksafe.subscribe("ApplicationPostFork", function() if forks == 2 then error "not fit" end end, { on_error = "retire_worker" })
    ]] } }
    local ended = wait_said(server, "ChildExit", 1)[1]
    assert.same({ 2, "1/nil" }, { ended.worker, ended.child:match "/(.*)" })
    assert.equal(ended.child:match "^%d+", tostring(said(server, "WorkerExit")[1].pid))
    assert.equal(3, #answering(server))
  end)
end)

describe("a failure of forksafe", function()
  local rows = {
    { name = "in the ini", keys = "forksafe.max_workers = many", says = "production%.ini:3" },
    { name = "to be told an ini", attach = "require 'forksafe/unicorn'\nForksafe::Unicorn.attach(self)\n", says = "no ini: " },
    { name = "that is wanted (FORKSAFE=off)", env = { FORKSAFE = "off" }, says = "FORKSAFE=off" },
    { name = "to find its library", library = "/nonexistent/libforksafe.so.0", says = "libforksafe cannot be loaded: " },
  }
  for _, row in ipairs(rows) do
    it(row.name .. " is one line, and the server serves", function()
      local package = row.library and support.with_text(support.paths.ruby, "/build%.rb$",
        ("Forksafe::Build.send(:remove_const, :LIBRARY)\nForksafe::Build::LIBRARY = %q\n"):format(row.library))
      local server = start { keys = row.keys, attach = row.attach, env = row.env, package = package }
      answering(server)
      assert.equal(1, count(server:output(), " forksafe[:%[][^\n]*\n"), server:output())
      assert.truthy(server:output():find(" : forksafe[^\n]*" .. row.says) or server:output():find("forksafe[^\n]*" .. row.says))
      assert.equal(0, finish(server, "QUIT"))
    end)
  end

  it("in the ini keeps Unicorn from starting where it is required", function()
    local server = start { keys = "forksafe.required = true\nforksafe.max_workers = many" }
    assert.same({ "exited", 1 }, { server:wait(10) })
    assert.equal(0, count(server:output(), "loaded in"))
  end)

  it("in a script leaves the others running", function()
    local server = start { hooks = { ["broken.postfork.lua"] = "return function() nothing.at.all() end" } }
    assert.same(answering(server), pids_in(said(server, "PostFork")))
    assert.truthy(server:output():find "broken%.postfork%.lua:1: ")
  end)
end)
