-- SPDX-License-Identifier: MIT
--
-- The work of forksafe prefork's workers: a COMMAND, a worker_script, or (--once) none.
local prefork = require "containers.prefork_server"
local support = require "support"

local PYTHON = "/usr/bin/python3"

describe("forksafe prefork with a COMMAND", function()
  -- Asks until `count` different pids have answered; pids by slot.
  local function answering(port, count)
    support.http_wait(port)
    local pids, found = {}, 0
    support.eventually(count .. " workers answer", function()
      local _, body = support.http_get(port)
      local pid, worker = body:match "^(%d+) (%d+)$"
      if pid and not pids[tonumber(worker)] then
        pids[tonumber(worker)] = tonumber(pid)
        found = found + 1
      end
      return found == count, body
    end)
    return pids
  end

  it("runs it in each worker after the hooks: the pids that answer are the recorded ones", function()
    local port = support.free_port()
    local server = prefork.start { workers = 3, command = { PYTHON, support.paths.data .. "/pid_server.py", port } }
    local pids = answering(port, 3)
    assert.same(prefork.by_worker(prefork.said(server, "PostFork")), pids)
    assert.same(server:children(), prefork.sorted(pids))
    prefork.assert_started(server)
    assert.equal(0, prefork.finish(server))
    assert.equal(0, prefork.count_said(server, "WorkerExit"))
    assert.equal(3, prefork.count_said(server, "ChildExit"))
  end)

  it("gives it the descriptors, signals and environment that the master was started with, and its slot", function()
    local function look(pid)
      local status = support.read("/proc/" .. pid .. "/status")
      local fds = support.fds(pid)
      local numbers = {}
      for number in pairs(fds) do
        table.insert(numbers, number)
      end
      return { prefork.sorted(numbers), status:match "SigBlk:%s*%x+", status:match "SigIgn:%s*%x+" }
    end
    -- sh ignores HUP and PIPE for what it starts, and leaves descriptor 9 open.
    local function wrapped(...)
      return { "sh", "-c", 'trap "" HUP PIPE; exec 9</dev/null; exec "$@"', "sh", ... }
    end
    local plain = support.spawn(wrapped("sleep", "60"))
    support.eventually("sleep runs", function()
      return support.command_line(plain.pid) == "sleep 60"
    end)
    local ini = prefork.application()
    local server = support.spawn(wrapped(support.paths.command, "prefork", "--workers=1", ini, "--", "sleep", "60"))
    local worker = support.eventually("the worker runs its command", function()
      local pid = server:children()[1]
      return pid and support.command_line(pid) == "sleep 60" and pid
    end)
    local expected = look(plain.pid)
    assert.same({ 0, 1, 2, 9 }, expected[1])
    assert.same(expected, look(worker))
    assert.matches("FORKSAFE_WORKER=1%z", support.read("/proc/" .. worker .. "/environ"))
  end)

  it("says what it could not run", function()
    local server = prefork.start { workers = 1, command = { "/nowhere/server" } }
    server:wait_for "cannot run '/nowhere/server': No such file or directory"
    assert.equal("/127/nil", prefork.wait_said(server, "ChildExit", 1)[1].child:match "/.*")
    assert.equal(0, prefork.finish(server))
  end)

  it("is not stopped by a COMMAND that exits as a stopped worker does", function()
    local server = prefork.start { workers = 1, command = { "sh", "-c", "exit 4" } }
    prefork.wait_said(server, "ChildExit", 2)
    assert.is_true(server:alive())
  end)

  it("runs it without hooks where forksafe is switched off", function()
    local server = prefork.start { workers = 1, env = { FORKSAFE = "off" }, command = { "sh", "-c", "echo served; exec sleep 60" } }
    server:wait_for "served"
    assert.equal(0, prefork.count_said(server, "PostFork"))
    assert.equal(0, prefork.finish(server))
  end)
end)

describe("forksafe prefork with a worker_script", function()
  local SCRIPT = [[
    local worker = ...
    io.write("script of ", worker, " in ", os.getenv "FORKSAFE_WORKER", "\n")
    io.flush()
    local file = io.popen("exec sleep 0." .. worker)
    file:read "*a"
    file:close()
    if worker == 1 then return end
    while true do end
  ]]

  local function run(script)
    local ini, directory = prefork.application({}, { "worker_script = work.lua" })
    support.write(directory .. "/work.lua", script)
    return prefork.start { ini = ini, workers = 2 }
  end

  it("runs it in each worker, and replaces the worker whose script returned", function()
    local server = run(SCRIPT)
    server:wait_for "script of 1 in 1"
    server:wait_for "script of 2 in 2"
    local ended = prefork.wait_said(server, "ChildExit", 1)[1]
    assert.same({ 1, "/0/nil" }, { ended.worker, ended.child:match "/.*" })
    assert.equal(1, prefork.said(server, "WorkerExit")[1].worker)
    prefork.wait_said(server, "PostWorkerInit", 3)
  end)

  it("ends it in the middle, with WorkerExit, at TERM", function()
    local server = run "print 'looping' io.flush() while true do end"
    support.eventually("both loop", function()
      local _, count = server:stdout():gsub("looping", "")
      return count == 2
    end)
    local workers = server:children()
    assert.equal(0, prefork.finish(server))
    assert.same(workers, prefork.pids_in(prefork.said(server, "WorkerExit")))
  end)

  it("ends it in a blocking call that holds a lock of stdio", function()
    local fifo = support.tmpdir() .. "/fifo"
    assert(require("posix.sys.stat").mkfifo(fifo, tonumber("600", 8)))
    local server = run(("io.stdout:write 'reading\\n' io.flush() io.open('%s', 'r+'):read '*a'"):format(fifo))
    server:wait_for "reading.*reading"
    assert.equal(0, prefork.finish(server))
    assert.equal(2, prefork.count_said(server, "WorkerExit"))
  end)

  it("serves the example", function()
    local directory, port = support.tmpdir(), support.free_port()
    for _, path in ipairs(support.all_files(support.paths.root .. "/examples/prefork")) do
      local name = path:match "/examples/prefork/(.*)$"
      support.write(directory .. "/" .. name, (support.read(path):gsub("listen.port = 8080", "listen.port = " .. port)))
    end
    local server = support.spawn { support.paths.command, "prefork", directory .. "/production.ini" }
    local worker, pid = support.http_wait(port):match "^worker (%d), pid (%d+)\n$"
    assert.is_true(worker == "1" or worker == "2")
    server:wait_for("worker " .. worker .. " up, database 10.0.0.5")
    assert.equal(server.pid, support.info(tonumber(pid)).ppid)
  end)

  it("does not run one that anybody can write, and says so", function()
    local ini, directory = prefork.application({}, { "worker_script = work.lua" })
    support.write(directory .. "/work.lua", "print 'it ran'", tonumber("666", 8))
    local server = prefork.start { ini = ini, workers = 1 }
    server:wait_for("forksafe%.worker_script: " .. directory:gsub("%p", "%%%0") .. "/work%.lua: not loaded: .*writ")
    assert.equal("/1/nil", prefork.wait_said(server, "ChildExit", 1)[1].child:match "/.*")
    assert.is_nil(server:stdout():find "it ran")
  end)

  it("tells a failing one with its traceback, and the worker exits with 1", function()
    local server = run "local function work() error 'no work today' end\nwork()"
    server:wait_for "work.lua:1: no work today"
    assert.equal("/1/nil", prefork.wait_said(server, "ChildExit", 1)[1].child:match "/.*")
  end)
end)

describe("forksafe prefork --once", function()
  it("ends its workers after their events, then itself", function()
    local server = prefork.start { workers = 4, arguments = { "--once" } }
    assert.same({ "exited", 0 }, { server:wait() })
    local object = support.debug(server.ini, { previous = true })
    local workers = support.pids_of(object, "ApplicationPostFork")
    assert.equal(4, #workers)
    for _, pid in ipairs(workers) do
      assert.equal("PostFork PostWorkerInit WorkerExit", prefork.events_of(object, pid))
    end
    assert.equal("MasterReady" .. (" PreFork"):rep(4) .. (" ChildExit"):rep(4) .. " Shutdown",
      (prefork.events_of(object, server.pid):gsub("^(MasterReady)([ PreForkChildExit]*)( Shutdown)$", function(first, middle, last)
        local forks, exits = select(2, middle:gsub("PreFork", "")), select(2, middle:gsub("ChildExit", ""))
        return first .. (" PreFork"):rep(forks) .. (" ChildExit"):rep(exits) .. last
      end)))
  end)

  it("ends with 1 when a worker failed", function()
    local server = prefork.start { arguments = { "--once" }, keys = { "on_error = retire_worker" },
      hooks = { ["postfork.lua"] = "return function(event) assert(event.worker ~= 2, 'not this one') end" } }
    assert.same({ "exited", 1 }, { server:wait() })
    assert.equal(2, prefork.count_said(server, "ChildExit"))
  end)
end)
