-- SPDX-License-Identifier: MIT
--
-- What arrives while a subscriber runs: a fork, a signal, another thread's fork or reload. Through a real host that does it
-- (support/reentrancy_host.c) and hooks that reach libc.
local cjson = require "cjson"
local scripts = require "support.scripts"
local support = require "support"

local host = support.paths.build .. "/tests/reentrancy_host"

local LIBC = "local ffi = require 'ffi'\nffi.cdef 'int fork(void); int getpid(void); int raise(int); int usleep(unsigned);'\nlocal C = ffi.C\n"
local SAY = "return function(event) forksafe.log.info('%s in %d by %s, generation %d.', event.name, event.pid, event.container, event.generation) end"

-- An ini of these hooks; each may reach libc.
local function application(files, settings)
  local texts = {}
  for name, text in pairs(files) do
    texts[name] = LIBC .. text
  end
  return (scripts.application(texts, "forksafe.lua_libs = full\nforksafe.instance = app\nforksafe.time_limit = 5s\n" .. (settings or "")))
end

-- Runs the host to its end: log lines, and the debug object.
local function run(mode, ini, next_ini)
  local result = support.run { host, mode, ini, next_ini, timeout = 20 }
  assert.equal(0, result.code, result.stderr)
  return result.stderr, cjson.decode(result.stdout)
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

-- "postfork=ok" of each record in order; a hook without a subscriber is its event.
local function outcomes(object, pid)
  local list = {}
  for _, record in ipairs(object.records) do
    if not pid or record.pid == pid then
      local name = type(record.subscriber) == "string" and record.subscriber or record.event:gsub("Application", "")
      table.insert(list, name .. "=" .. record.outcome)
    end
  end
  return list
end

describe("a subscriber that forks", function()
  it("goes on in both processes; the subscribers after it run once, in the parent", function()
    local log, object = run("fork", application {
      ["1.postfork.lua"] = "return function() local pid = C.fork() forksafe.log.info(pid == 0 and 'child here' or 'parent here') end",
      ["2.postfork.lua"] = SAY, ["workerexit.lua"] = SAY,
    })
    assert.equal(1, count(log, "child here"), log)
    assert.equal(1, count(log, "parent here"), log)
    assert.equal(1, count(log, "ApplicationPostFork in"), log)
    assert.equal(1, count(log, "child came back with 0"), log)
    assert.equal(1, count(log, "parent came back with 0"), log)
    assert.equal(2, count(log, "ApplicationWorkerExit in"), log)
    local parent = tonumber(log:match "(%d+) %S+ parent here")
    assert.same({ "1.postfork=ok", "2.postfork=ok", "workerexit=ok" }, outcomes(object, parent))
    assert.same({ "workerexit=ok" }, outcomes(object, tonumber(log:match "(%d+) %S+ child here")))
  end)

  it("has the time limit of its run in the child too", function()
    local log = run("fork", application {
      ["postfork.lua"] = "return function()\nlocal n = 0\nfor i = 1, 1e6 do n = n + i end\nlocal pid = C.fork()\nfor i = 1, 1e6 do n = n + i end\n"
        .. "forksafe.log.info(pid == 0 and 'child here' or 'parent here') end",
    })
    assert.equal(1, count(log, "child here"), log)
    assert.falsy(log:find("failed", 1, true), log)
  end)

  it("records nothing twice where the fork itself is an event", function()
    local log, object = run("thread", application {
      ["postworkerinit.lua"] = "return function() forksafe.log.info('inside') C.usleep(100000) end",
      ["workerexit.lua"] = "return function(event) if event.role == 'master' then local pid = C.fork() forksafe.log.info(pid == 0 and 'child here' or 'parent here')"
        .. " if pid ~= 0 then C.usleep(200000) end end end",
      ["prefork.lua"] = SAY, ["postfork.lua"] = SAY,
    })
    assert.equal(1, count(log, "child here"), log)
    assert.equal(1, count(log, "ApplicationPreFork in"), log)
    assert.equal(2, count(log, "ApplicationPostFork in"), log)
    for _, subscriber in ipairs(object.subscribers) do
      if subscriber.name == "workerexit" then
        assert.equal(2, subscriber.begun, cjson.encode(subscriber))
        assert.equal(2, subscriber.outcomes.ok, cjson.encode(subscriber))
      end
    end
  end)

  it("leaves what was waiting to the parent", function()
    local log, object = run("signal", application {
      ["1.postfork.lua"] = "return function() C.raise(10) if C.fork() == 0 then forksafe.log.info('child here') end end",
      ["childexit.lua"] = SAY,
    })
    assert.equal(1, count(log, "ApplicationChildExit in"), log)
    assert.is_table(object)
  end)
end)

describe("an emit from a signal handler within an emit", function()
  it("is recorded as queued, and runs after", function()
    local log, object = run("signal", application {
      ["1.postfork.lua"] = "return function() C.raise(10) C.raise(10) forksafe.log.info('raised') end",
      ["2.postfork.lua"] = SAY,
      ["childexit.lua"] = "return function(event) forksafe.log.info('childexit of %d', event.child.pid) error('boom') end",
    })
    assert.equal(2, count(log, "handler: 0"), log)
    assert.matches("raised.*ApplicationPostFork in.*childexit of 77.*childexit of 77.*emit: 0", log)
    assert.same({ "1.postfork=ok", "ChildExit=queued", "ChildExit=queued", "2.postfork=ok", "childexit=error", "childexit=error" }, outcomes(object))
  end)

  it("brings its verdict to the outer emit", function()
    local log = run("signal", application({
      ["postfork.lua"] = "return function() C.raise(10) end", ["childexit.lua"] = "return function() error('boom') end",
    }, "forksafe.on_error = stop_server\n"))
    assert.matches("handler: 0.*emit: 2", log)
  end)

  it("is refused where sixteen are waiting, and the refusal is recorded", function()
    local log, object = run("signal", application({
      ["postfork.lua"] = "return function() for _ = 1, 20 do C.raise(10) end end", ["childexit.lua"] = SAY,
    }, "forksafe.records = 100\n"))
    assert.equal(16, count(log, "ApplicationChildExit in"), log)
    assert.equal(4, count(table.concat(outcomes(object), " "), "ChildExit=refused"))
  end)
end)

describe("a fork while another thread runs a subscriber", function()
  it("gives the child a fresh VM, in which PostFork runs; the thread goes on in the parent", function()
    local log, object = run("thread", application {
      ["0.postworkerinit.lua"] = "return function() forksafe.log.info('inside') C.usleep(300000) forksafe.log.info('outside') end",
      ["1.postworkerinit.lua"] = SAY, ["prefork.lua"] = SAY, ["postfork.lua"] = SAY, ["workerexit.lua"] = SAY,
    })
    local child = tonumber(log:match "ApplicationPostFork in (%d+) by reentrancyhost, generation 1%.")
    assert.truthy(child, log)
    assert.equal(1, count(log, "ApplicationPostFork in"), log)
    assert.matches("child ended with 0", log)
    assert.equal(1, count(log, "outside"), log)
    assert.equal(1, count(log, "ApplicationPostWorkerInit in"), log)
    local parent = tonumber(log:match "(%d+) %S+ inside")
    assert.are_not.equal(parent, child)
    assert.same({ "postfork=ok", "workerexit=ok" }, outcomes(object, child))
    assert.same({ "0.postworkerinit=ok", "PreFork=refused", "1.postworkerinit=ok", "workerexit=ok" }, outcomes(object, parent))
  end)

  it("counts a failure in it for the subscriber of that name", function()
    local log, object = run("thread", application {
      ["0.postworkerinit.lua"] = "return function() forksafe.log.info('inside') C.usleep(300000) end",
      ["postfork.lua"] = "return function() error('boom') end",
    })
    assert.matches("subscriber 'postfork' failed: .*boom", log)
    assert.equal(1, count(table.concat(outcomes(object), " "), "postfork=error"))
  end)
end)

describe("a subscriber whose Lua state is given up", function()
  local LONG = "return function() forksafe.log.info('inside') local found = (('a'):rep(2000)):find(('a-'):rep(30) .. 'b') end"
  local LIMIT = "forksafe.time_limit = 300ms\n"

  it("leaves what a signal handler emitted meanwhile in the queue; it runs once, after", function()
    local ini = scripts.application({ ["1.postfork.lua"] = LONG, ["2.postfork.lua"] = SAY, ["childexit.lua"] = SAY }, LIMIT)
    local log, object = run("late", ini)
    assert.matches("inside.*handler: 0.*its Lua state was given up.*ApplicationPostFork in.*ApplicationChildExit in.*emit: 0", log)
    assert.equal(1, count(log, "ApplicationChildExit in"), log)
    assert.same({ "1.postfork=timeout", "2.postfork=ok", "childexit=ok" }, (function()
      local list = {}
      for _, outcome in ipairs(outcomes(object)) do
        table.insert(list, outcome ~= "ChildExit=queued" and outcome or nil)
      end
      return list
    end)())
    assert.equal(1, count(table.concat(outcomes(object), " "), "ChildExit=queued"))
  end)

  it("does not keep a fork of another thread: the child runs its hooks, and has nothing of the timer", function()
    local ini = scripts.application({ ["0.postworkerinit.lua"] = LONG, ["1.postworkerinit.lua"] = SAY, ["prefork.lua"] = SAY,
      ["postfork.lua"] = SAY, ["workerexit.lua"] = SAY }, LIMIT)
    local log, object = run("thread", ini)
    local child = tonumber(log:match "ApplicationPostFork in (%d+)")
    assert.truthy(child, log)
    assert.matches("child ended with 0", log)
    assert.same({ "postfork=ok", "workerexit=ok" }, outcomes(object, child))
    assert.same({ "0.postworkerinit=timeout", "PreFork=refused", "1.postworkerinit=ok", "workerexit=ok" },
      outcomes(object, tonumber(log:match "(%d+) %S+ inside")))
  end)
end)

describe("a reload while another thread runs a subscriber", function()
  local function busy(seconds)
    return ([[
      local late = 0
      return function()
        forksafe.log.info('inside')
        for _ = 1, %d do
          assert(require('only').name == 'only', 'another VM')
          C.usleep(10000)
        end
        forksafe.log.info('still generation 1')
      end]]):format(seconds * 100)
  end
  local SLOW = "for _ = 1, 20 do C.usleep(10000) end\n" -- loading takes its time, so that the two overlap

  it("waits for it, and the thread sees nothing of the new VM", function()
    local before = application { ["postworkerinit.lua"] = busy(0.4), ["only.lua"] = "return { name = 'only' }", ["workerexit.lua"] = SAY }
    local after = application { ["a.lua"] = SLOW, ["workerexit.lua"] = "return function(event) forksafe.log.info('new, generation %d', event.generation) end" }
    local log, object = run("reload", before, after)
    assert.matches("inside.*still generation 1", log)
    assert.matches("reload: 0", log)
    assert.matches("new, generation 2", log)
    assert.same({ "postworkerinit=ok", "workerexit=ok" }, outcomes(object))
  end)

  it("is refused after a second, with a line, and the old scripts stay", function()
    local before = application { ["postworkerinit.lua"] = busy(1.8), ["only.lua"] = "return { name = 'only' }", ["workerexit.lua"] = SAY }
    local after = application { ["workerexit.lua"] = "return function() forksafe.log.info('new') end" }
    local log, object = run("reload", before, after)
    assert.matches("a subscriber runs in another thread; [^\n]*reload again[^\n]*; the scripts loaded before stay in use", log)
    assert.matches("reload: %-1\n", log)
    assert.matches("ApplicationWorkerExit in %d+ by reentrancyhost, generation 1%.", log)
    assert.same({ "postworkerinit=ok", "workerexit=ok" }, outcomes(object))
    assert.equal(1, object.masters[1].generation)
  end)
end)

describe("forksafe_open", function()
  it("in a child of the master is refused, and changes nothing; in the master it is a reload", function()
    local log, object = run("inherit", application { ["workerexit.lua"] = SAY })
    assert.matches("forksafe is open already, by process %d+, from which this one was forked: only the master can reload", log)
    assert.matches("child: %-1\n", log)
    assert.matches("ApplicationWorkerExit in %d+ by reentrancyhost, generation 1%.", log)
    assert.matches("master: 0\n", log)
    assert.equal(2, object.masters[1].generation)
  end)
end)
