-- SPDX-License-Identifier: MIT
--
-- Puma as a user runs it: Debian's own, with the plugin in puma.rb, a Paste ini and real requests. What the hooks recorded is compared
-- with /proc and with the pids in the answers.
local puma = require "support.puma"
local signal = require "posix.signal"
local servers = require "support.server"
local support = require "support"

local count, has, history, pids_in, said, wait_said, finish = servers.count, servers.has, servers.history, servers.pids_in, servers.said,
  servers.wait_said, servers.finish

local start, THREE = puma.start, puma.THREE

local function answering(server)
  return servers.answering(server, 3)
end

local function ready(server)
  return pids_in(wait_said(server, "PostWorkerInit", 3))
end

-- The end of a server with a mold: Puma waits until somebody has reaped the workers that the mold leaves behind, as init does.
local function wait_ended(server)
  support.eventually("Puma has ended", function()
    support.orphans()
    return not server:alive(), server:output()
  end, 20)
  assert.same({ "exited", 0 }, { server:wait() })
end

-- The one description of a start: who is forked and who answers recorded it, and nobody else.
local function assert_hooked(server, seconds)
  local workers = answering(server)
  return servers.assert_recorded(server, { workers = workers, seconds = seconds or 5, container = "puma", hooks = {
    MasterReady = "before_fork", PreFork = "on_worker_fork", PostFork = "on_worker_boot", PostWorkerInit = "state_running",
  } }), workers
end

describe("Puma", function()
  local rows = {
    { name = "as it comes", config = THREE },
    { name = "with preload_app!", config = THREE .. "preload_app!\n", preload = true },
    { name = "with pumactl's server in the master", config = THREE .. "activate_control_app 'unix://control', no_token: true\n" },
  }
  for _, row in ipairs(rows) do
    it(row.name .. " runs MasterReady and PreFork in the master, PostFork and PostWorkerInit in every worker", function()
      local server = start { config = row.config }
      local object, workers = assert_hooked(server)
      servers.assert_fields(server, {
        workers = 3, lazy = not row.preload, events = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" },
      })
      for _, pid in ipairs(workers) do
        local _, loading = history(object, pid)
        assert.is_true(row.preload or loading >= 0.5, "PostWorkerInit comes after the application: " .. loading)
        assert.equal(row.preload and 0 or 1, count(server:output(), "loaded in " .. pid .. "\n"))
      end
      assert.equal(row.preload and 1 or 0, count(server:output(), "loaded in " .. server.pid .. "\n"))
      assert.equal("Puma hook configured", object.status)
      assert.equal("Puma", object.environment)
      local seen = require("cjson").decode((support.http_wait(server.port, "/debug")))
      assert.same(object.executed_hooks, seen.executed_hooks)
      assert.equal(0, finish(server, "INT"))
      assert.same(workers, pids_in(said(server, "WorkerExit")))
      assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
    end)
  end

  it("is not hooked without the adapter's one call into the library", function()
    local server = start { package = support.without_line(support.paths.ruby, 'guard%("forksafe_emit"') }
    answering(server)
    support.fails(function()
      assert_hooked(server, 1)
    end)
  end)

  it("takes the ini of FORKSAFE_INI where puma.rb names none", function()
    assert_hooked(start { no_ini = true, env = { FORKSAFE_INI = "HERE/production.ini" } })
  end)

  it("that TERM ends runs Shutdown once, after the workers' WorkerExit", function()
    local server = start {}
    local workers = ready(server)
    server:signal "TERM"
    assert.same({ "killed", signal.SIGTERM }, { server:wait(15) })
    assert.same(workers, pids_in(said(server, "WorkerExit")))
    assert.equal(1, #said(server, "Shutdown"))
  end)

  it("keeps the first line of puma.rb, which it drops for plugins that add to it", function()
    local server = start { config = "tag 'the tag'\n" .. THREE }
    ready(server)
    assert.truthy(support.command_line(server.pid):find "%[the tag%]")
  end)
end)

describe("a worker", function()
  it("that was killed is replaced by one with its number", function()
    local server = start {}
    answering(server)
    local victim = said(server, "PostFork")[2]
    signal.kill(victim.pid, signal.SIGKILL)
    local replacement = wait_said(server, "PostWorkerInit", 4)[4]
    assert.equal(victim.worker, replacement.worker)
    assert.are_not.equal(victim.pid, replacement.pid)
    assert.same(answering(server), server:children())
  end)
end)

describe("a restart", function()
  it("in phases (USR1) reads the scripts again, once, and every worker is of the new generation", function()
    local server = start { hooks = { ["postfork.lua"] = "return function() end\n" } }
    local old = answering(server)
    support.write(server.directory .. "/hooks/postfork.lua", "return function() forksafe.log.info('the changed hook') end\n")
    server:signal "USR1"
    wait_said(server, "PostWorkerInit", 6, 20)
    local new = answering(server)
    assert.same(new, server:children())
    assert.is_false(has(new, old[1]) or has(new, old[2]) or has(new, old[3]))
    assert.equal(3, count(server:output(), "the changed hook"))
    servers.assert_fields(server, { workers = 3, lazy = true, generation = 2, events = { "PreFork", "PostFork", "PostWorkerInit" } })
    local reloads = said(server, "Reload")
    assert.same({ 1, server.pid, 2 }, { #reloads, reloads[1].pid, reloads[1].generation })
    assert.equal(2, support.debug(server.ini).masters[1].generation)
  end)

  it("in phases keeps the old scripts where the new ones do not load, and the server serves", function()
    local server = start { hooks = { ["postfork.lua"] = "return function() forksafe.log.info('the old hook') end\n" } }
    ready(server)
    support.write(server.directory .. "/hooks/postfork.lua", "this is no Lua\n")
    server:signal "USR1"
    wait_said(server, "PostWorkerInit", 6, 20)
    assert.equal(6, count(server:output(), "the old hook"))
    assert.equal(6, #servers.of_generation(said(server, "PostFork"), 1))
    answering(server)
  end)

  it("as a whole (USR2) finds the journal again: same master, one Reload, the next generation", function()
    local server = start { config = THREE .. "preload_app!\n" }
    local old = answering(server)
    server:signal "USR2"
    wait_said(server, "PostWorkerInit", 6, 20)
    local new = answering(server)
    assert.same(new, server:children())
    local object = support.debug(server.ini)
    assert.equal(1, #object.masters)
    assert.same({ server.pid, 2, 6 }, { object.masters[1].pid, object.masters[1].generation, object.masters[1].forks.worker })
    assert.same(old, pids_in(said(server, "WorkerExit")))
    assert.equal(0, #said(server, "Shutdown"))
    local reloads = said(server, "Reload")
    assert.same({ 1, server.pid, 2 }, { #reloads, reloads[1].pid, reloads[1].generation })
    servers.assert_fields(server, {
      workers = 3, generation = 2, events = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" },
    })
    assert.equal(0, finish(server, "INT"))
    assert.equal(1, #said(server, "Shutdown"))
  end)
end)

describe("fork_worker", function()
  it("makes worker 1 a mold: the others are forked from it, and again at a refork, with the scripts that it has", function()
    local server = start { config = THREE .. "fork_worker\n" }
    local all = answering(server)
    local mold = said(server, "PostFork")[1]
    assert.same({ 1, "mold" }, { mold.worker, mold.role })
    assert.same({ mold.pid }, server:children())
    local others = support.children(mold.pid)
    assert.same(all, servers.sorted { mold.pid, unpack(others) })
    local function assert_forked(first)
      local slots = {}
      for i = first, first + 1 do
        local before, after = said(server, "PreFork")[i], said(server, "PostFork")[i]
        assert.same({ mold.pid, "mold", true, true }, { before.pid, before.role, before.forked, before.loaded })
        assert.same({ "worker", true, 1 }, { after.role, after.loaded, after.generation })
        slots[before.worker], slots[after.worker] = true, true
      end
      assert.same({ [2] = true, [3] = true }, slots)
    end
    assert_forked(2)
    server:signal "URG"
    wait_said(server, "PostWorkerInit", 5, 20)
    assert_forked(4)
    assert.same(servers.sorted(others), pids_in(said(server, "WorkerExit")))
    assert.same({ mold.pid }, server:children())
    assert.equal(0, #said(server, "Reload"))
    server:signal "INT"
    wait_ended(server)
    assert.equal(5, #said(server, "WorkerExit"))
  end)
end)

describe("without workers", function()
  it("the one process runs all hooks as what it is, not forked, and a restart is a generation", function()
    local server = start { config = "workers 0\n" }
    assert.same({ server.pid }, servers.answering(server, 1))
    for _, event in ipairs { "MasterReady", "PostFork", "PostWorkerInit" } do
      local list = said(server, event)
      assert.equal(1, #list, event)
      assert.same({ server.pid, "single", false, true }, { list[1].pid, list[1].role, list[1].forked, list[1].loaded }, event)
    end
    server:signal "USR2"
    wait_said(server, "PostWorkerInit", 2)
    assert.same({ server.pid }, servers.answering(server, 1))
    assert.equal(2, said(server, "Reload")[1].generation)
    assert.equal(0, finish(server, "INT"))
    assert.equal(1, #said(server, "WorkerExit"))
    assert.equal(1, #said(server, "Shutdown"))
  end)

  it("stop_server ends the server in order", function()
    local server = start { config = "workers 0\nactivate_control_app 'unix://control', no_token: true\n", hooks = {
      ["stop.lua"] = "forksafe.subscribe('ApplicationPostFork', function() error 'no' end, { on_error = 'stop_server' })\n",
    } }
    assert.same({ "exited", 0 }, { server:wait(15) })
    assert.equal(1, #said(server, "Shutdown"))
  end)

  it("retire_worker is said to be not available", function()
    local server = start { config = "workers 0\n", hooks = {
      ["retire.lua"] = "forksafe.subscribe('ApplicationPostFork', function() error 'no' end, { on_error = 'retire_worker' })\n",
    } }
    assert.same({ server.pid }, servers.answering(server, 1))
    assert.equal(1, count(server:output(), "not available here"))
  end)
end)

describe("on_error", function() -- of a cluster; the rest is in on_error_spec.lua
  it("= retire_worker does not spin where every worker fails, and INT ends the server", function()
    local server = start { keys = "forksafe.scripts = %(here)s/hooks\nforksafe.on_error = retire_worker",
      hooks = { ["postfork.lua"] = "return function() error 'never fit' end" } }
    local forks = wait_said(server, "PostFork", 9)
    support.sleep(1)
    assert.is_true(#said(server, "PostFork") < #forks + 6)
    assert.equal(0, finish(server, "INT"))
  end)

  it("= stop_server at a worker's end ends the cluster that restarts", function()
    local server = start { hooks = { ["fail.lua"] =
      "forksafe.subscribe('ApplicationWorkerExit', function() error 'no' end, { on_error = 'stop_server' })\n" } }
    ready(server)
    server:signal "USR2"
    assert.same({ "exited", 0 }, { server:wait(20) }, server:output())
    assert.equal(1, #said(server, "Shutdown"))
    assert.equal(3, #said(server, "PostFork"))
    assert.equal(1, count(server:output(), "Goodbye!"))
  end)

  it("= stop_server in a worker that is forked from the mold ends the cluster", function()
    local server = start { config = THREE .. "fork_worker\n", hooks = { ["fail.lua"] = [[
      forksafe.subscribe("ApplicationPostFork", function(event) assert(event.role == "mold") end, { on_error = "stop_server" })
    ]] } }
    wait_ended(server)
    assert.equal(1, #said(server, "Shutdown"))
  end)
end)

describe("a signal", function()
  it("whose trap ends the master while a subscriber logs is not lost, and Shutdown runs after it", function()
    local server = start { keys = "forksafe.scripts = %(here)s/hooks\nforksafe.time_limit = 20s", hooks = { ["busy.lua"] = [[
      forksafe.subscribe("ApplicationReload", function()
        for i = 1, 40000 do forksafe.log.info("busy %d", i) end
        forksafe.log.info("the busy one has ended")
      end, { name = "busy" })
    ]] } }
    local workers = ready(server)
    server:signal "USR1"
    server:wait_for "busy 100\n"
    server:signal "TERM"
    assert.same({ "killed", signal.SIGTERM }, { server:wait(20) })
    assert.equal(1, count(server:output(), "the busy one has ended"))
    assert.equal(1, #said(server, "Shutdown"))
    assert.same(workers, pids_in(said(server, "WorkerExit")))
    assert.is_nil(server:output():find "%[BUG%]")
  end)
end)

describe("a failure of forksafe", function()
  local rows = {
    { name = "in the ini", keys = "forksafe.max_workers = many", says = "production%.ini:3" },
    { name = "to be told an ini", no_ini = true, says = "forksafe%[%-%]: no ini: " },
    { name = "that is wanted (FORKSAFE=off)", env = { FORKSAFE = "off" }, says = "FORKSAFE=off" },
    { name = "to find its library", library = "/nonexistent/libforksafe.so.0", says = "libforksafe cannot be loaded: " },
  }
  for _, row in ipairs(rows) do
    it(row.name .. " is one line, and the server serves", function()
      local package = row.library and support.with_text(support.paths.ruby, "/build%.rb$",
        ("Forksafe::Build.send(:remove_const, :LIBRARY)\nForksafe::Build::LIBRARY = %q\n"):format(row.library))
      local server = start { keys = row.keys, no_ini = row.no_ini, env = row.env, package = package }
      answering(server)
      assert.equal(1, count(server:output(), "forksafe[^\n]*\n"), server:output())
      assert.truthy(server:output():find("forksafe[^\n]*" .. row.says:gsub("^forksafe", "")), server:output())
      assert.equal(0, finish(server, "INT"))
    end)
  end

  it("in the ini keeps Puma from starting where it is required", function()
    local server = start { keys = "forksafe.required = true\nforksafe.max_workers = many" }
    assert.same({ "exited", 1 }, { server:wait(10) })
    assert.equal(0, count(server:output(), "loaded in"))
    assert.is_nil(server:output():find "puma/launcher") -- no backtrace
  end)

  it("in a script leaves the others running", function()
    local server = start { hooks = { ["broken.postfork.lua"] = "return function() nothing.at.all() end" } }
    assert.same(answering(server), pids_in(said(server, "PostFork")))
    assert.truthy(server:output():find "broken%.postfork%.lua:1: ")
  end)
end)
