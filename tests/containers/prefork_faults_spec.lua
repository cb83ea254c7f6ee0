-- SPDX-License-Identifier: MIT
--
-- forksafe prefork when hooks fail, workers are killed in them, or the command line and the ini are wrong.
local signal = require "posix.signal"
local prefork = require "containers.prefork_server"
local support = require "support"

describe("forksafe prefork and failing hooks", function()
  local FAILS = "return function(event) if event.worker ~= 1 then error 'it is broken' end end"

  it("goes on after one with on_error = log", function()
    local server = prefork.start { hooks = { ["postfork.lua"] = FAILS } }
    prefork.wait_said(server, "PostWorkerInit")
    assert.equal(2, #server:children())
    assert.matches("postfork.lua:1: it is broken", server:stderr(), 1, true)
  end)

  it("replaces a worker that a hook retired, slower each time, and leaves the others alone", function()
    local server = prefork.start { hooks = { ["postfork.lua"] = FAILS }, keys = { "on_error = retire_worker" } }
    local started = support.now()
    prefork.wait_said(server, "ChildExit", 4)
    assert.is_true(support.now() - started > 0.6) -- 0.1 + 0.2 + 0.4 s, less what the start took
    for _, ended in ipairs(prefork.said(server, "ChildExit")) do
      assert.same({ 2, "/3/nil" }, { ended.worker, ended.child:match "/.*" })
    end
    assert.equal(1, prefork.count_said(server, "PostWorkerInit"))
    assert.equal(4, prefork.count_said(server, "WorkerExit"))
  end)

  it("tries a slot again at once after a reload", function()
    local ini, directory = prefork.application({ ["postfork.lua"] = FAILS }, { "on_error = retire_worker" })
    local server = prefork.start { ini = ini }
    prefork.wait_said(server, "ChildExit", 5) -- it rests for 1.6 s now
    support.write(directory .. "/hooks/postfork.lua", "return function() end")
    server:signal "HUP"
    support.eventually("worker 2 is up", function()
      return prefork.by_worker(prefork.said(server, "PostWorkerInit"))[2]
    end, 1)
  end)

  it("stops before the first fork when one failed in MasterReady", function()
    local server = prefork.start { hooks = { ["masterready.lua"] = "return function() error 'no' end" }, keys = { "on_error = stop_server" } }
    assert.same({ "exited", 1 }, { server:wait() })
    assert.equal(0, prefork.count_said(server, "PreFork"))
    assert.equal(1, prefork.count_said(server, "Shutdown"))
  end)

  it("tells a worker that was killed in the middle of a hook as begun and not ended", function()
    local server = prefork.start { keys = { "time_limit = 0" },
      hooks = { ["postfork.lua"] = "return function(event) forksafe.log.info('in the hook') while event.worker == 2 do end end" } }
    support.eventually("both are in the hook", function()
      local _, count = server:stderr():gsub("in the hook", "")
      return count == 2
    end)
    local stuck
    for _, one in ipairs(prefork.wait_said(server, "PreFork", 2)) do
      assert.equal(server.pid, one.pid)
    end
    support.eventually("the other is ready", function()
      return prefork.count_said(server, "PostWorkerInit") == 1
    end)
    local ready = prefork.said(server, "PostWorkerInit")[1].pid
    for _, pid in ipairs(server:children()) do
      stuck = pid ~= ready and pid or stuck
    end
    signal.kill(stuck, signal.SIGKILL)
    prefork.wait_said(server, "ChildExit", 1)

    local object = support.debug(server.pid)
    local open = {}
    for _, record in ipairs(object.records) do
      if record.pid == stuck and record.subscriber == "postfork" then
        table.insert(open, record)
      end
    end
    assert.equal(1, #open)
    assert.same({ "ApplicationPostFork", "unfinished" }, { open[1].event, open[1].outcome })
    assert.equal(9, prefork.process_of(object, stuck).exit_signal)
    server:signal "INT"
    server:signal "INT"
  end)
end)

describe("forksafe prefork refuses", function()
  local function run(...)
    return support.run { support.paths.command, "prefork", ... }
  end

  it("to start without an ini, and takes FORKSAFE_INI for one", function()
    local result = run()
    assert.equal(2, result.code)
    assert.matches("^forksafe prefork: no INI, .*usage: forksafe prefork [^\n]*\n$", result.stderr)
    assert.equal(0, support.run { support.paths.command, "prefork", "--once", env = { FORKSAFE_INI = prefork.application() } }.code)
  end)

  it("wrong arguments, in a line", function()
    for _, arguments in ipairs { { "-w", "0", "x.ini" }, { "-w", "two", "x.ini" }, { "-w", "1025", "x.ini" }, { "x.ini", "y" }, { "x.ini", "--" },
      { "--nothing", "x.ini" } } do
      local result = run(unpack(arguments))
      assert.equal(2, result.code, table.concat(arguments, " "))
      assert.matches("^forksafe prefork: ", result.stderr)
    end
  end)

  it("to fork when the ini says required and forksafe cannot start", function()
    local ini = prefork.application({}, { "required = true", "memory_limit = plenty" })
    local result = run("--workers=2", ini)
    assert.equal(1, result.code)
    assert.matches("not started", result.stderr, 1, true)
    assert.is_nil(result.stderr:find("started, pid", 1, true))
  end)

  it("nothing else: without a usable ini the workers run all the same", function()
    local ini = prefork.application({}, { "memory_limit = plenty" })
    local server = prefork.start { ini = ini, command = { "sh", "-c", "echo served; exec sleep 60" } }
    server:wait_for "served.*served"
    assert.matches("app.ini:3", server:stderr(), 1, true)
  end)

  it("to leave an option out of --help", function()
    local result = run "--help"
    assert.equal(0, result.code)
    for _, word in ipairs { "--workers", "--once", "--graceful-timeout", "COMMAND", "FORKSAFE_WORKER", "worker_script", "TTIN" } do
      assert.matches(word, result.stdout, 1, true)
    end
  end)
end)
