-- SPDX-License-Identifier: MIT
--
-- Celery as a user runs it: Debian's own, a Redis server, tasks that return who ran them. What the hooks recorded is compared with the
-- master's children in /proc and with the pids that the tasks return.
local signal = require "posix.signal"
local celery = require "support.celery"
local servers = require "support.server"
local support = require "support"

local count, has, of_generation, pids_in, said, wait_said, finish = servers.count, servers.has, servers.of_generation, servers.pids_in,
  servers.said, servers.wait_said, servers.finish

local LOOK_SECONDS = 12 -- Celery itself may need five until it sees that a process ended

setup(celery.setup)

-- The one description of a start: who is forked and who runs tasks recorded it, and nobody else. t: helpers (their pids), seconds (how
-- long it may take), has_loop = false where the broker has none.
local function assert_hooked(server, t)
  t = t or {}
  local workers, slots = celery.answering(server, 3)
  local hooks, all = {}, celery.hooks(t.has_loop)
  for _, event in ipairs { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" } do
    hooks[event] = all[event]
  end
  local object = servers.assert_recorded(server, { workers = workers, helpers = t.helpers, seconds = t.seconds or 5,
    container = "celery", hooks = hooks })
  servers.assert_fields(server, { workers = 3, events = { "MasterReady", "PreFork", "PostWorkerInit" } })
  for _, one in ipairs(said(server, "PostWorkerInit")) do
    assert.equal(slots[one.pid], one.worker)
  end
  return object, workers
end

-- Starts one whose subscriber throws at the event, where the condition of Lua holds, with a policy.
local function start_failing(event, policy, condition, more)
  local t = more or {}
  t.hooks = { ["fail.lua"] = ([[
    local forks = 0
    forksafe.subscribe("ApplicationPreFork", function() forks = forks + 1 end, { order = 1, name = "count" })
    for _, event in ipairs { %s } do
      forksafe.subscribe("Application" .. event, function() if %s then error "not fit" end end,
        { name = "fail at " .. event, on_error = %q })
    end
  ]]):format(event, condition, policy) }
  return celery.start(t)
end

describe("Celery's prefork pool", function()
  local server

  lazy_setup(function()
    server = celery.start { hooks = { ["workerexit.lua"] = "return function() end\n" } }
  end)

  local function hash()
    for _, subscriber in ipairs(support.debug(server.ini).subscribers) do
      if subscriber.path:find "/workerexit%.lua$" then
        return subscriber.hash
      end
    end
  end

  it("runs MasterReady and PreFork in the master, PostFork and PostWorkerInit in every process of the pool", function()
    local object = assert_hooked(server)
    servers.assert_fields(server, { workers = 3, events = { "PostFork" } })
    assert.equal(1, count(server:stdout(), "imported in"))
    assert.equal(1, count(server:stdout(), "imported in " .. server.pid .. "\n"))
    assert.equal("Celery hook configured", object.status)
    assert.equal("Celery", object.environment)
    assert.same({}, object.findings)
    assert.same({ "Celery available", "Celery hook configured" }, object["autoconfigure.log"])
  end)

  it("replaces a process that was killed by one with its number, after ChildExit", function()
    local victim = said(server, "PostFork")[2]
    signal.kill(victim.pid, signal.SIGKILL)
    local exit = wait_said(server, "ChildExit", 1, LOOK_SECONDS)[1]
    assert.equal(server.pid, exit.pid)
    assert.equal(victim.worker, exit.worker)
    assert.equal(("%d/nil/%d"):format(victim.pid, signal.SIGKILL), exit.child)
    local replacement = wait_said(server, "PostWorkerInit", 4)[4]
    assert.equal(victim.worker, replacement.worker)
    assert.are_not.equal(victim.pid, replacement.pid)
    assert.truthy(servers.log(server):find "ChildExit pid=.-PreFork pid=")
    assert.same(celery.answering(server, 3), server:children())
  end)

  it("reads the scripts again at HUP, in the same process and the same journal", function()
    local old, before = server:children(), hash()
    support.write(server.directory .. "/hooks/workerexit.lua", "return function() forksafe.log.info('the changed hook') end\n")
    server:signal "HUP"
    wait_said(server, "PostWorkerInit", 7, 20)
    local new = celery.answering(server, 3)
    assert.same(new, server:children())
    for _, pid in ipairs(old) do
      assert.is_false(has(new, pid))
    end
    assert.are_not.equal(before, hash())
    local reloads = said(server, "Reload")
    assert.equal(1, #reloads)
    assert.same({ server.pid, 2 }, { reloads[1].pid, reloads[1].generation })
    servers.assert_fields(server, { workers = 3, generation = 2, events = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" } })
    local object = support.debug(server.ini)
    assert.equal(1, #object.masters)
    assert.same({ server.pid, 2 }, { object.masters[1].pid, object.masters[1].generation })
    assert.equal(0, #said(server, "Shutdown"))
  end)

  it("ends at TERM with WorkerExit in every process, their ChildExit, and Shutdown", function()
    local workers = server:children()
    assert.equal(0, finish(server))
    assert.same(workers, pids_in(of_generation(said(server, "WorkerExit"), 2)))
    assert.equal(3, count(server:stderr(), "the changed hook\n"))
    local exits = of_generation(said(server, "ChildExit"), 2)
    assert.equal(3, #exits)
    for _, one in ipairs(exits) do
      assert.equal(server.pid, one.pid)
      assert.truthy(has(workers, tonumber(one.child:match "^(%d+)/0/nil$")), one.child)
    end
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
  end)
end)

describe("a worker program", function()
  it("is not hooked without the adapter's one call into the library", function()
    local package = support.without_line(support.paths.python, "call%(self%.library%.forksafe_emit")
    local server = celery.start { package = package }
    celery.answering(server, 3)
    support.fails(function()
      assert_hooked(server, { seconds = 1 })
    end)
  end)

  it("forks beat as a helper, and other forks of the master are none of the pool's", function()
    local server = celery.start { arguments = { "--beat", "--schedule", "schedule" }, env = { FORKS = "1" } }
    local forked = wait_said(server, "PostFork", 4)
    assert.equal(4, #forked)
    local beat
    for _, one in ipairs(forked) do
      if one.role == "helper" then
        assert.is_nil(beat)
        assert.is_nil(one.worker)
        beat = one.pid
      end
    end
    assert_hooked(server, { helpers = { beat } })
  end)

  it("whose broker has no event loop forks from a thread, and is hooked", function()
    local queues = support.tmpdir()
    local server = celery.start { env = { BROKER = "filesystem://", QUEUES = queues } }
    assert_hooked(server, { has_loop = false })
  end)

  it("keeps the numbers where processes are replaced after a task, and where the pool grows and shrinks", function()
    local server = celery.start { arguments = { "--max-tasks-per-child", "1" } }
    local ran = celery.ask(server, 6)
    local slots = {}
    for _, one in ipairs(wait_said(server, "PostWorkerInit", 9)) do
      slots[one.pid] = one.worker
    end
    for _, one in ipairs(ran) do
      assert.equal(one.slot, slots[one.pid])
      assert.is_true(one.slot >= 1 and one.slot <= 3)
    end
    assert.truthy(wait_said(server, "ChildExit", 6)[1].child:find "^%d+/155/nil$")
    assert.equal(6, #said(server, "WorkerExit"))
    celery.client(server, "pool_grow", 1)
    assert.equal(4, wait_said(server, "PostWorkerInit", 10)[10].worker)
    celery.client(server, "pool_shrink", 1)
    wait_said(server, "ChildExit", 7, LOOK_SECONDS)
    assert.equal(10, #said(server, "PostFork"))
    assert.equal(3, #server:children())
  end)

  it("takes the ini of its configuration, and says Shutdown at a cold end too", function()
    local server = celery.start { env = { FORKSAFE_INI = false, INI = "HERE/production.ini" } }
    assert_hooked(server)
    server:signal "QUIT"
    server:wait(15)
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
  end)
end)

describe("a pool that does not fork", function()
  for pool, name in pairs { solo = "solo", threads = "thread", gevent = "gevent", eventlet = "eventlet" } do
    it("is said to be one, and runs tasks: " .. pool, function()
      local server = celery.start { arguments = { "--pool", pool } }
      for _, one in ipairs(celery.ask(server, 2)) do
        assert.same({ server.pid, 0 }, { one.pid, one.slot })
      end
      local line = ("Celery error: the %s pool does not fork: start the worker with --pool prefork"):format(name)
      assert.equal(1, count(server:output(), "forksafe%[[^\n]*\n"), server:output())
      assert.truthy(server:stderr():find("]: " .. line .. "; no subscriber runs\n", 1, true))
      local object = support.debug(server.ini)
      assert.equal("Celery error", object.status)
      assert.same({ line }, object["autoconfigure.log"])
      assert.same({}, object.executed_hooks)
      assert.same({}, object.records)
    end)
  end
end)

describe("on_error", function() -- the rest is in on_error_spec.lua
  it("= retire_worker ends the process before it takes a task, and it is replaced with its number", function()
    local server = start_failing("'PostFork', 'PostWorkerInit'", "retire_worker", "forks == ({ PostFork = 1, PostWorkerInit = 2 })[event]")
    local ready = wait_said(server, "PostWorkerInit", 4) -- that of the second has failed
    assert.equal(2, count(server:stderr(), "process %d+ retires in [%d.]+ s: "))
    assert.equal(2, #said(server, "ChildExit"))
    assert.same(celery.answering(server, 3), server:children())
    local slots = {}
    for _, one in ipairs(ready) do
      slots[one.worker] = true
    end
    assert.same({ true, true, true }, slots)
    for _, one in ipairs(said(server, "ChildExit")) do
      assert.truthy(one.child:find "/155/nil$")
    end
  end)

  it("= retire_worker where every process fails does not spin, and TERM ends the program", function()
    local server = start_failing("'PostFork'", "retire_worker", "true")
    wait_said(server, "PostFork", 6, 20)
    assert.equal(0, #said(server, "PostWorkerInit"))
    assert.equal(0, finish(server, "TERM", 20))
  end)
end)

describe("a failure of forksafe", function()
  it("in the ini is one line, and tasks run", function()
    local server = celery.start { keys = "forksafe.max_workers = many" }
    celery.answering(server, 3)
    assert.equal(1, count(server:output(), "forksafe%[[^\n]*\n"), server:output())
    assert.truthy(server:stderr():find "ERROR/MainProcess%] forksafe%[[%w-]+%]: [^\n]*production%.ini:3")
  end)

  it("in the ini keeps Celery from starting where it is required", function()
    local server = celery.start { keys = "forksafe.required = true\nforksafe.max_workers = many", ready = false }
    assert.same({ "exited", 1 }, { server:wait(15) })
    assert.equal(1, count(server:stderr(), "forksafe cannot work, and the ini says forksafe%.required = true\n"))
    assert.truthy(server:stderr():find "production%.ini:4")
    assert.is_nil(server:output():find "Traceback")
  end)

  it("is not that there is no ini, nor FORKSAFE=off: one line each, and tasks run", function()
    for line, env in pairs { ["no ini: "] = { FORKSAFE_INI = false }, ["switched off by "] = { FORKSAFE = "off" } } do
      local server = celery.start { env = env }
      celery.ask(server, 2)
      assert.equal(1, count(server:output(), "forksafe%[[^\n]*\n"), server:output())
      assert.truthy(server:stderr():find("INFO/MainProcess%] forksafe%[[%w-]+%]: " .. line))
    end
  end)
end)
