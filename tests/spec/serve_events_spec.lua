-- SPDX-License-Identifier: MIT
--
-- /events of forksafe serve: what a client hears while a real server forks, fails a hook, loses a worker and restarts, and
-- what it gets after it was away.
local cjson = require "cjson"
local signal = require "posix.signal"
local journal = require "support.journal"
local prefork = require "containers.prefork_server"
local serve = require "support.serve"
local support = require "support"

-- PostFork fails in the second worker; PostWorkerInit goes on for as long as there is a file `hold`.
local HOOKS = {
  ["fail.lua"] = [[
    forksafe.subscribe("ApplicationPostFork", function(event)
      if event.worker == 2 then error("<b>no</b> database") end
    end, { name = "fail" })]],
  ["hold.lua"] = [[
    local ffi = require "ffi"
    ffi.cdef "int usleep(unsigned int microseconds);"
    forksafe.subscribe("ApplicationPostWorkerInit", function(event)
      for _ = 1, 4000 do
        local file = io.open(event.registry.settings.hold)
        if not file then return end
        file:close()
        ffi.C.usleep(2000)
      end
    end, { name = "hold" })]],
}

-- A server with two workers and those hooks. server.hold is the file's path.
local function start()
  local directory = support.tmpdir()
  for name, text in pairs(HOOKS) do
    support.write(directory .. "/hooks/" .. name, text)
  end
  local hold = directory .. "/hold"
  local ini = support.write(directory .. "/app.ini",
    "[forksafe]\nscripts = hooks\nlua_libs = full\ntime_limit = 0\nmax_workers = 16\n[settings]\nhold = " .. hold .. "\n")
  local server = prefork.start { ini = ini }
  server.hold = hold
  support.eventually("two workers are ready", function()
    local ready = 0
    for _, process in ipairs(support.debug(ini).processes) do
      ready = ready + (process.role == "worker" and process.state == "ready" and 1 or 0)
    end
    return ready == 2
  end)
  return server
end

local function pid_of_worker(web, worker)
  for _, process in ipairs(serve.get(web, "/debug.json").processes) do
    if process.worker == worker and process.alive and process.role == "worker" then
      return process.pid
    end
  end
end

-- Kills a worker, and waits until the client has heard that its successor has initialised.
local function replace_worker(server, web, worker, client)
  local pid = pid_of_worker(web, worker)
  signal.kill(pid, signal.SIGKILL)
  support.eventually("there is another one", function()
    local new = pid_of_worker(web, worker)
    return new and new ~= pid and #support.pids_of(serve.get(web, "/debug.json"), "ApplicationPostWorkerInit") > 0
      and prefork.process_of(serve.get(web, "/debug.json"), new).state == "ready"
  end)
  if client then
    client:wait_for("its successor", function(message)
      return message.event == "process" and message.data.worker == worker and message.data.pid ~= pid and message.data.state == "ready"
    end)
    client:settle(1.5)
  end
  return pid, server
end

local function assert_rising(messages)
  for i = 2, #messages do
    assert.is_true(messages[i].id > messages[i - 1].id, i .. ": " .. messages[i].id)
  end
end

local function same_messages(expected, got)
  local function plain(list)
    local texts = {}
    for i, message in ipairs(list) do
      texts[i] = ("%d %s %s"):format(message.id, message.event, message.text)
    end
    return texts
  end
  assert.same(plain(expected), plain(got))
end

-- What came after the message with that index.
local function after(client, index)
  return { unpack(client.messages, index + 1) }
end

describe("the live stream", function()
  it("begins with the present, and says nothing while nothing happens", function()
    local web = serve.start { start().ini }
    local client = serve.listen(web)
    assert.equal(200, client.status)
    assert.equal("text/event-stream", client.headers["content-type"])
    assert.equal("no-store", client.headers["cache-control"])
    assert.equal("nosniff", client.headers["x-content-type-options"])
    local hello = client:wait_for("hello", "hello")
    assert.is_false(hello.data.resumed)
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT", hello.data.generated_at)
    assert.equal("1000", client.retry)
    client:settle(1.5)
    assert.equal(1, #client.messages)
  end)

  it("tells of a killed worker, and of its successor's records when they begin and when they end", function()
    local server = start()
    local web = serve.start { server.ini }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    local killed = pid_of_worker(web, 1)
    support.write(server.hold, "")
    signal.kill(killed, signal.SIGKILL)

    local dead = client:wait_for("the worker's death", function(message)
      return message.event == "process" and message.data.pid == killed and not message.data.alive and message.data.exit_signal == 9
    end).data
    assert.same({ "exited", 1, server.pid }, { dead.state, dead.worker, dead.master })
    local reaped = client:wait_for("ChildExit", function(message)
      return message.event == "record" and message.data.event == "ApplicationChildExit"
    end).data
    assert.same({ pid = killed, exit = cjson.null, signal = 9 }, reaped.child)

    local function is_hold(outcome)
      return function(message)
        return message.event == "record" and message.data.subscriber == "hold" and message.data.outcome == outcome
      end
    end
    local begun = client:wait_for("a record that begins", is_hold "running").data
    assert.equal(cjson.null, begun.duration)
    os.remove(server.hold)
    local ended = client:wait_for("the same record, ended", is_hold "ok").data
    assert.same({ begun.key, begun.pid, 1 }, { ended.key, ended.pid, ended.worker })
    assert.is_true(ended.duration > 0)
    assert.is_not.equal(killed, ended.pid)

    client:settle(1.5)
    assert_rising(client.messages)
    -- All that was told is what the debug object has, by key.
    local object, known = serve.get(web, "/debug.json?keys=1"), {}
    for _, list in ipairs { object.records, object.processes } do
      for _, item in ipairs(list) do
        item.at = nil -- the same moment, computed from two clocks twice: a microsecond may differ
        known[item.key] = item
      end
    end
    local newest = {}
    for _, message in ipairs(client.messages) do
      if message.data.key then
        message.data.at = nil
        newest[message.data.key] = message.data
      end
    end
    for key, data in pairs(newest) do
      data.since, data.ended = known[key].since, known[key].ended
      assert.same(known[key], data)
    end
    local state = client:of "state"
    assert.is_true(#state >= 1)
    local last = state[#state].data
    assert.same({ object.masters, object.subscribers, object.hooks, object.findings, object.status },
      { last.masters, last.subscribers, last.hooks, last.findings, last.status })
    assert.is_nil(last.processes)
    assert.is_nil(last.records)
  end)

  it("tells of a hook that fails, with its text", function()
    local server = start()
    local web = serve.start { server.ini }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    replace_worker(server, web, 2)
    local failed = client:wait_for("the failed record", function(message)
      return message.event == "record" and message.data.outcome == "error"
    end).data
    assert.same({ "fail", "ApplicationPostFork", 2 }, { failed.subscriber, failed.event, failed.worker })
    local process = client:wait_for("its process", function(message)
      return message.event == "process" and message.data.failed == 1 and message.data.pid == failed.pid
    end).data
    assert.matches("<b>no</b> database", process.error, 1, true)
  end)

  it("tells that a record will never end when its worker is killed in it", function()
    local server = start()
    local web = serve.start { server.ini }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    support.write(server.hold, "")
    signal.kill(pid_of_worker(web, 1), signal.SIGKILL)
    local begun = client:wait_for("a record that begins", function(message)
      return message.event == "record" and message.data.subscriber == "hold" and message.data.outcome == "running"
    end).data
    signal.kill(begun.pid, signal.SIGKILL)
    local over = client:wait_for("its end", function(message)
      return message.data.key == begun.key and message.data.outcome ~= "running"
    end).data
    assert.same({ "unfinished", cjson.null }, { over.outcome, over.duration })
    os.remove(server.hold)
  end)

  it("gives every client the same messages", function()
    local server = start()
    local web = serve.start { server.ini }
    local clients = {}
    for i = 1, 20 do
      clients[i] = serve.listen(web)
      clients[i]:wait_for("hello", "hello")
    end
    replace_worker(server, web, 1, clients[1])
    for i = 2, 20 do
      support.eventually("client " .. i .. " has them all", function()
        clients[i]:read()
        return #clients[i].messages >= #clients[1].messages
      end)
      same_messages(after(clients[1], 1), after(clients[i], 1))
    end
  end)

  it("sees a new master, and the end of the old one's processes", function()
    local server = start()
    local web = serve.start { server.ini }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    local workers = server:children()
    server:signal "KILL"
    server:wait()
    for _, pid in ipairs { server.pid, unpack(workers) } do
      client:wait_for("the end of " .. pid, function(message)
        return message.event == "process" and message.data.pid == pid and not message.data.alive
      end)
    end
    client:wait_for("the state of a dead master", function(message)
      return message.event == "state" and not message.data.masters[1].alive
    end)
    local second = prefork.start { ini = server.ini }
    client:wait_for("the new master", function(message)
      return message.event == "process" and message.data.pid == second.pid and message.data.role == "master"
    end)
    client:wait_for("its workers' records", function(message)
      return message.event == "record" and message.data.event == "ApplicationPostFork" and message.data.pid ~= workers[1]
        and message.data.pid ~= workers[2]
    end)
    client:wait_for("its state", function(message)
      return message.event == "state" and message.data.masters[1].pid == second.pid
    end)
    assert_rising(client.messages)
  end)

  it("looks at the journals once for all who listen, and not at all for nobody", function()
    local server = start()
    local web = serve.start { server.ini }
    local function reads(seconds)
      local function count()
        return tonumber(support.read("/proc/" .. web.pid .. "/io"):match "syscr: (%d+)")
      end
      local before = count()
      support.sleep(seconds)
      return count() - before
    end
    serve.listen(web):wait_for("hello", "hello")
    support.sleep(1.2)
    local one = reads(2)
    assert.is_true(one > 20, one .. " reads for one client")
    local clients = {}
    for i = 1, 30 do
      clients[i] = serve.listen(web)
      clients[i]:wait_for("hello", "hello")
    end
    support.sleep(1.2)
    local many = reads(2)
    assert.is_true(many < one * 3, ("%d reads for one, %d for 31"):format(one, many))
  end)
end)

describe("a client that comes back", function()
  it("gets exactly what it missed, from any message on", function()
    local server = start()
    local web = serve.start { server.ini }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    replace_worker(server, web, 1, client)
    replace_worker(server, web, 2, client)
    assert.is_true(#client.messages > 12)
    for _, index in ipairs { 1, 2, 5, #client.messages - 1, #client.messages } do
      local id = client.messages[index].id
      for _, how in ipairs { { last_id = ("%d"):format(id) }, { path = ("/events?last_event_id=%d"):format(id) } } do
        local again = serve.listen(web, how)
        local hello = again:wait_for("hello", "hello")
        assert.same({ true, id }, { hello.data.resumed, hello.id })
        again:settle(0.3)
        same_messages(after(client, index), after(again, 1))
        again:close()
      end
    end
  end)

  it("gets what happened while nobody listened", function()
    local server = start()
    local web = serve.start { server.ini }
    local client = serve.listen(web)
    local id = client:wait_for("hello", "hello").id
    client:close()
    local before = {}
    for _, record in ipairs(serve.get(web, "/debug.json?keys=1").records) do
      before[record.key] = true
    end
    support.sleep(0.3)
    local killed = replace_worker(server, web, 1)
    local expected = {}
    for _, record in ipairs(serve.get(web, "/debug.json?keys=1").records) do
      expected[record.key] = not before[record.key] or nil
    end
    local again = serve.listen(web, { last_id = ("%d"):format(id) })
    assert.is_true(again:wait_for("hello", "hello").data.resumed)
    again:settle()
    local got, dead = {}, nil
    for _, message in ipairs(again.messages) do
      if message.event == "record" then
        assert.is_nil(got[message.data.key])
        got[message.data.key] = true
      elseif message.event == "process" and message.data.pid == killed then
        dead = message.data
      end
    end
    assert.same(expected, got)
    assert.same({ false, 9 }, { dead.alive, dead.exit_signal })
    assert_rising(after(again, 0))
  end)

  it("gets it from another process of forksafe serve too", function()
    local server = start()
    local web = serve.start { server.ini }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    replace_worker(server, web, 1, client)
    local id = client.messages[#client.messages].id
    web:stop()
    local killed = pid_of_worker(serve.start { server.ini }, 1)
    signal.kill(killed, signal.SIGKILL)
    support.eventually("it is buried", function()
      return prefork.process_of(support.debug(server.ini), killed).exit_signal == 9
    end)
    local next_one = serve.start { server.ini }
    local again = serve.listen(next_one, { last_id = ("%d"):format(id) })
    assert.is_true(again:wait_for("hello", "hello").data.resumed)
    again:wait_for("the death of the worker", function(message)
      return message.event == "process" and message.data.pid == killed and message.data.exit_signal == 9
    end)
    again:wait_for("the record of it", function(message)
      return message.event == "record" and message.data.child ~= cjson.null and message.data.child.pid == killed
    end)
    again:wait_for("the state", "state")
    assert_rising(again.messages)
    assert.is_true(again.messages[2].id > id)
  end)

  it("begins anew with an id that makes no sense", function()
    local web = serve.start { start().ini }
    for _, id in ipairs { "0", "x", "-1", "1", "12 34", "999999999999999999", ("9"):rep(400), "4102444800000000" } do
      local client = serve.listen(web, { last_id = id })
      local hello = client:wait_for("hello", "hello")
      assert.is_false(hello.data.resumed, id)
      assert.equal(1, #client.messages)
      client:close()
    end
  end)
end)

describe("a client that does not read", function()
  it("is cut, and comes back with its last id", function()
    local master = journal.open { records = 65000, max_workers = 2 }
    master:hook "containers.test.post_fork"
    local subscriber = master:subscriber "one"
    master:claim { role = journal.SINGLE }
    local web = serve.start { master:path() }
    local lazy, eager = serve.listen(web), serve.listen(web)
    lazy:wait_for("hello", "hello")
    eager:wait_for("hello", "hello")
    local seen, rest = 0, ""
    for round = 1, 2 do -- more than the history and the socket hold
      for _ = 1, 60000 do
        master:run(subscriber)
      end
      support.eventually("who reads gets them", function()
        local whole, _, part = eager.connection:receive(1048576)
        rest = rest .. (whole or part)
        seen = seen + select(2, rest:gsub('"outcome":"ok"', ""))
        rest = rest:sub(-13)
        return seen >= round * 59000, seen -- a few are cut in two by chunks
      end, 60)
    end
    support.eventually("the lazy one is cut", function()
      return not lazy:read()
    end, 30)
    local records = lazy:of "record"
    assert.is_true(#records < 2 * 60000)
    for i, message in ipairs(records) do -- nothing was left out in between
      assert.equal(i, tonumber(message.data.key:match "%-(%d+)$"))
    end
    local id = lazy.messages[#lazy.messages].id
    local again = serve.listen(web, { last_id = ("%d"):format(id) })
    assert.is_true(again:wait_for("hello", "hello").data.resumed)
    again:wait_for("what the journal still holds", "record")
    assert.equal("ok\n", serve.get(web, "/healthz"))
  end)
end)
