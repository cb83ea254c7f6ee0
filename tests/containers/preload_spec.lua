-- SPDX-License-Identifier: MIT
--
-- `forksafe run` with a plain C program that knows nothing of forksafe (tests/data/preload/program.c): which of its forks make
-- workers, and how their ends are told. The pids are those that the program itself says.
local lfs = require "lfs"
local servers = require "support.server"
local signal = require "posix.signal"
local support = require "support"
local unistd = require "posix.unistd"

local PROGRAM = support.paths.build .. "/tests/preload_program"

local said, pids_in = servers.said, servers.pids_in

-- Writes hooks and ini. t.hooks, t.keys, t.ini (the whole text).
local function application(t)
  local directory = servers.application(t.hooks)
  local keys = t.keys or "forksafe.scripts = %(here)s/hooks"
  return directory, support.write(directory .. "/production.ini", t.ini or "[app:main]\nuse = egg:myapp\n" .. keys .. "\n")
end

-- Starts the program with these steps (t[1], ...); t of application, t.env, t.command (another).
local function start(t)
  local directory, ini = application(t)
  local argv = { support.paths.command, "run", ini, "--", env = t.env, cwd = directory }
  for _, argument in ipairs(t.command or { PROGRAM }) do
    table.insert(argv, argument)
  end
  for _, step in ipairs(t) do
    table.insert(argv, step)
  end
  local server = support.spawn(argv)
  server.directory, server.ini = directory, ini
  return server
end

-- The same, to its end: the program must end with 0.
local function run(t)
  local server = start(t)
  assert.same({ "exited", 0 }, { server:wait(t.seconds or 20) }, server:output())
  return server
end

-- Numbers that the program said: told(server, "worker").
local function told(server, what)
  local list = {}
  for number in server:output():gmatch("%f[%w]" .. what .. " (%-?%d+)\n") do
    table.insert(list, tonumber(number))
  end
  return servers.sorted(list)
end

-- Who was master, and who its workers, and that nobody else ran anything.
local function assert_family(server, t)
  local workers = t.workers or told(server, "worker")
  assert.equal(t.count, #workers, server:output())
  assert.same(workers, pids_in(said(server, "PostFork")), server:output())
  assert.equal(#workers, #said(server, "PreFork"), server:output())
  assert.equal(#workers > 0 and 1 or 0, #said(server, "MasterReady"))
  for _, event in ipairs { "MasterReady", "PreFork", "ChildExit", "Shutdown" } do
    for _, one in ipairs(said(server, event)) do
      assert.same({ t.master or server.pid, "master", false }, { one.pid, one.role, one.forked }, event)
    end
  end
end

-- "1/3/nil": number, exit status and signal of each end that the master told.
local function ends(server)
  local list = {}
  for _, one in ipairs(said(server, "ChildExit")) do
    table.insert(list, ("%s/%s"):format(one.worker, one.child:match "^%d+/(.*)$"))
  end
  return servers.sorted(list)
end

describe("forksafe run with a plain program", function()
  it("runs PostFork in each of five children, and PreFork in the process that forks them", function()
    local server = run { "workers:5", "release", "reap" }
    assert_family(server, { count = 5 })
    local numbers = {}
    for _, one in ipairs(said(server, "PostFork")) do
      assert.same({ "worker", true, 1 }, { one.role, one.forked, one.generation })
      table.insert(numbers, one.worker)
    end
    assert.same({ 1, 2, 3, 4, 5 }, servers.sorted(numbers))
    local object = support.debug(server.ini, { previous = true })
    assert.same({
      ["containers.preload.first_fork ApplicationMasterReady"] = true, ["containers.preload.atfork_prepare ApplicationPreFork"] = true,
      ["containers.preload.atfork_child ApplicationPostFork"] = true, ["containers.preload.exit ApplicationWorkerExit"] = true,
      ["containers.preload.wait ApplicationChildExit"] = true, ["containers.preload.exit ApplicationShutdown"] = true,
    }, support.executed_hooks(object))
    assert.equal("preload hook configured", object.status)
    assert.equal(5, #support.pids_of(object, "ApplicationPostFork"))
  end)

  it("runs MasterReady before PreFork, and PreFork before the PostFork of the same worker", function()
    local server = run { "workers:3", "release", "reap" }
    local order = {}
    for event in server:output():gmatch "%]: (%u%a+) pid=" do
      table.insert(order, event)
    end
    assert.equal("MasterReady PreFork", table.concat(order, " ", 1, 2))
  end)

  for _, row in ipairs {
    { name = "system()", step = "system:true" }, { name = "popen()", step = "popen:true" }, { name = "posix_spawn()", step = "spawn:true" },
  } do
    it("runs nothing for " .. row.name .. ", before the workers or after", function()
      assert_family(run { row.step }, { count = 0 })
      assert_family(run { row.step, "workers:2", row.step, "release", "reap", row.step }, { count = 2 })
    end)
  end

  for _, row in ipairs {
    { name = "daemon(3)", step = "daemon" }, { name = "a fork and setsid()", step = "daemonise" },
    { name = "a fork whose parent waits to hear of it", step = "daemonise:wait" }, { name = "two forks", step = "daemonise:twice" },
    { name = "daemon(3), listening before it,", step = "daemon", first = "listen" },
  } do
    it("takes what a program becomes by " .. row.name .. " for the master, and no worker", function()
      local server = run { row.first or "sleep:1", row.step, "workers:3", "release", "reap" }
      local master = support.eventually("the daemon", function()
        local pid = told(server, "daemon")[1]
        return pid and support.info(pid).ppid == unistd.getpid() and pid, server:output()
      end)
      support.adopt(master):wait(10)
      assert.equal(1, #said(server, "Shutdown"))
      assert.not_equal(server.pid, master)
      assert_family(server, { count = 3, master = master })
      assert.equal(master, support.debug(server.ini, { previous = true }).masters[1].pid)
    end)
  end

  it("takes what a master becomes by daemon(3) for another master", function()
    local server = run { "workers:2", "release", "reap", "daemon", "workers:3", "release", "reap" }
    local master = support.eventually("the daemon", function()
      return told(server, "daemon")[1], server:output()
    end)
    support.adopt(master):wait(10)
    assert.same(told(server, "worker"), pids_in(said(server, "PostFork")), server:output())
    assert.same(servers.sorted { server.pid, master }, pids_in(said(server, "MasterReady")))
    assert.same({ master }, pids_in(said(server, "Shutdown")))
  end)

  it("has one master where the first forks are those of several threads at a time", function()
    local server = run { "threads", "reap" }
    assert.equal(4, #told(server, "worker"))
    assert.same(told(server, "worker"), pids_in(said(server, "PostFork")), server:output())
    assert.same({ server.pid }, pids_in(said(server, "MasterReady")))
  end)

  for _, call in ipairs { "ppoll", "recvmsg", "recvfrom", "readv" } do
    it("sees a first worker wait for work by " .. call, function()
      assert_family(run { "wait_by:" .. call }, { count = 1 })
    end)
  end

  it("counts one worker of a program that forks no second one", function()
    local server = run { "one_by_one:1:_exit3" }
    assert.equal(1, #said(server, "PostFork"))
    assert.same({ "1/3/nil" }, ends(server))
    assert_family(server, { count = 1, workers = pids_in(said(server, "PostFork")) })
  end)

  it("runs nothing in what a worker forks", function()
    assert_family(run { "workers:2", "release", "reap", "grandchild" }, { count = 3 })
  end)

  it("runs PostWorkerInit where the program calls forksafe_ready()", function()
    local server = run { "workers:2", "release", "reap", "ready" }
    local ready = said(server, "PostWorkerInit")
    assert.equal(1, #ready)
    assert.same({ 0 }, told(server, "ready"))
    assert.is_true(ready[1].loaded)
    assert.is_true(servers.has(told(server, "worker"), ready[1].pid))
    assert.equal(-1, tonumber(support.must_run({ PROGRAM, "ready" }):match "ready (%-?%d+)"))
  end)

  it("marks a worker that executes another program as a helper", function()
    local server = start { "workers:1", "execute", "sleep:60000" }
    servers.wait_said(server, "PostFork", 2)
    local executed = support.eventually("the other program", function()
      local pid = told(server, "executed")[1]
      return pid and support.command_line(pid) == "sleep 600" and pid, server:output()
    end)
    local roles = {}
    for _, process in ipairs(support.debug(server.pid).processes) do
      roles[process.pid] = process.role
    end
    assert.same({ [server.pid] = "master", [told(server, "worker")[1]] = "worker", [executed] = "helper" }, roles)
    signal.kill(executed, signal.SIGKILL)
  end)

  it("numbers a worker with the smallest number that is free", function()
    local server = run { "workers:3:kill", "release", "reap", "workers:2", "release", "reap" }
    local numbers = {}
    for _, one in ipairs(said(server, "PostFork")) do
      table.insert(numbers, one.worker)
    end
    assert.same({ 1, 1, 2, 2, 3 }, servers.sorted(numbers))
  end)

  it("has exact counters after 10000 forks", function()
    local server = run { "one_by_one:10000", hooks = { ["say.lua"] = "", ["postfork.lua"] = "return function() end" }, seconds = 60 }
    local object = support.debug(server.ini, { previous = true })
    assert.equal(10000, object.subscribers[1].begun)
    assert.equal(10000, object.subscribers[1].outcomes.ok)
  end)
end)

describe("the master of a plain program", function()
  local rows = {
    { how = "exit3", ends = { "1/3/nil", "2/3/nil" }, exits = 2 }, { how = "_exit3", ends = { "1/3/nil", "2/3/nil" }, exits = 0 },
    { how = "kill", ends = { "1/nil/9", "2/nil/9" }, exits = 0 }, { how = "segv", ends = { "1/nil/11", "2/nil/11" }, exits = 0 },
  }
  for _, row in ipairs(rows) do
    it("tells the end of a worker by " .. row.how, function()
      local server = run { "workers:2:" .. row.how, "release", "reap" }
      assert.same(row.ends, ends(server))
      assert.equal(row.exits, #said(server, "WorkerExit"))
      assert.equal(1, #said(server, "Shutdown"))
    end)
  end

  local handlers = {
    { name = "", "handle" }, { name = " that changes its mask", "handle:masked", "handle:masked" },
    { name = " after another one has left a wait by siglongjmp()", "jump", "handle" },
    { name = " in a program with a thread", "thread", "handle" },
  }
  for _, row in ipairs(handlers) do
    it("tells ends that a signal handler reaped" .. row.name .. ", at the next call that waits and not in the handler", function()
      local server = run { row[1], row[2] or row[1], "workers:2:_exit3", "release", "spin", "workers:2:_exit3", "release", "spin", "sleep:10" }
      assert.same({ "1/3/nil", "1/3/nil", "2/3/nil", "2/3/nil" }, ends(server))
      local text = server:stderr()
      local first = text:find("spun", 1, true)
      local second = text:find("spun", first + 1, true)
      assert.is_true(first < text:find("ChildExit", 1, true))
      assert.is_nil(text:sub(1, second):match "ChildExit.*PreFork.*PreFork.*ChildExit")
    end)
  end

  it("tells ends, and its own, where the program has blocked the signals of them", function()
    local server = run { "block", "workers:2:exit3", "release", "reap" }
    assert.same({ "1/3/nil", "2/3/nil" }, ends(server))
    assert.equal(2, #said(server, "WorkerExit"))
    assert.equal(1, #said(server, "Shutdown"))
  end)

  it("tells no end of what was no worker", function()
    local server = run { "workers:2", "release", "reap", "spawn:true" }
    assert.same({ "1/0/nil", "2/0/nil" }, ends(server))
  end)
end)

describe("what hooks log in a plain program", function()
  local function counted(server)
    return #support.pids_of(support.debug(server.ini, { previous = true }), "ApplicationPostFork")
  end

  it("stays out of a file that the program reads and writes as descriptor 2", function()
    local path = support.write(support.tmpdir() .. "/data", "data\n")
    assert.equal(2, counted(run { "stderr:file:" .. path, "workers:2", "release", "reap" }))
    assert.equal("data\n", support.read(path))
  end)

  for _, kind in ipairs { "closed", "broken", "full" } do
    it("neither ends nor stops it where its standard error is " .. kind, function()
      assert.equal(2, counted(run { "stderr:" .. kind, "workers:2", "release", "reap" }))
    end)
  end

  it("does not end it where its standard error is a file that may not grow", function()
    local path = support.write(support.tmpdir() .. "/log", ("x"):rep(65536))
    run { "stderr:limited:" .. path, "workers:2", "release", "reap" }
    assert.equal(65536, lfs.attributes(path, "size"))
  end)
end)

describe("forksafe run", function()
  it("follows a shell script to the program that it runs, with or without exec", function()
    for _, script in ipairs { 'exec "$0" "$@"', 'true; "$0" "$@"; true' } do
      local server = run { "workers:2", "release", "reap", command = { "/bin/sh", "-c", script, PROGRAM } }
      assert_family(server, { count = 2, master = told(server, "program")[1] })
    end
  end)

  it("keeps what LD_PRELOAD had", function()
    local result = support.run { support.paths.command, "run", (select(2, application {})), "--", "/usr/bin/printenv", "LD_PRELOAD",
      env = { LD_PRELOAD = "/lib/x86_64-linux-gnu/libm.so.6" } }
    assert.matches("^/lib/x86_64%-linux%-gnu/libm%.so%.6:/.*/libforksafe_preload%.so\n$", result.stdout)
  end)

  it("opens nothing in a program that never forks", function()
    run { "system:true" }
    assert.same({}, support.all_files(support.runtime_dir()))
  end)

  it("runs the program without hooks where the ini cannot be used, after one line", function()
    local server = run { "workers:3", "release", "reap", ini = "[app:main\n" }
    assert.equal(3, #told(server, "worker"))
    assert.equal(1, servers.count(server:output(), "forksafe%["), server:output())
    assert.matches("production.ini:1: .*; the server runs without hooks", server:output())
  end)

  it("runs the program without hooks where FORKSAFE=off", function()
    local server = run { "workers:3", "release", "reap", env = { FORKSAFE = "off" } }
    assert.equal(3, #told(server, "worker"))
    assert.equal(0, #said(server, "PostFork"))
    assert.matches("switched off by FORKSAFE=off", server:output())
  end)

  it("does not start the program where a script is wrong and forksafe.required is set", function()
    local directory, ini = application { hooks = { ["bad.lua"] = "return (" },
      keys = "forksafe.scripts = %(here)s/hooks\nforksafe.required = true" }
    local result = support.run { support.paths.command, "run", ini, "--", PROGRAM, cwd = directory }
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    assert.matches("the server must not start, since forksafe.required = true", result.stderr)
  end)

  it("says that retire_worker and stop_server are not available here", function()
    local server = run { "workers:2", "release", "reap", hooks = { ["bad.lua"] = [[
      forksafe.subscribe("ApplicationPostFork", function() error "broken" end, { name = "bad", on_error = "retire_worker" })
    ]] } }
    assert.equal(1, servers.count(server:output(), "retire_worker is not available here"))
    assert_family(server, { count = 2 })
  end)

  -- A static program of a page: made by the linker alone.
  local function static_program()
    local directory = support.tmpdir()
    support.write(directory .. "/s.c", "void _start(void) { for (;;) ; }\n")
    support.must_run { "gcc", "-static", "-nostdlib", "-o", directory .. "/s", directory .. "/s.c", timeout = 30 }
    return directory .. "/s"
  end

  it("says in one line why a program cannot be run with hooks", function()
    local _, ini = application {}
    local rows = {
      { "/no/such/program", "there is no such program" }, { "no-such-program", "there is no such program" },
      { static_program(), "it is linked statically" },
    }
    for _, row in ipairs(rows) do
      local result = support.run { support.paths.command, "run", ini, "--", row[1] }
      assert.equal(1, result.code)
      assert.matches("^forksafe run: " .. row[1]:gsub("%p", "%%%0") .. ": " .. row[2], result.stderr)
      assert.equal(1, servers.count(result.stderr, "\n"))
    end
  end)

  it("refuses a setuid program for a user that is not its owner", function()
    local copy = support.write(support.tmpdir() .. "/program", support.read(PROGRAM), tonumber("4755", 8))
    local _, ini = application {}
    local result = support.run { support.paths.command, "run", ini, "--", copy, uid = 65534 }
    assert.equal(1, result.code)
    assert.matches("it is setuid, setgid or has file capabilities", result.stderr)
  end)

  it("refuses wrong arguments with 2", function()
    local _, ini = application {}
    for _, argv in ipairs { { ini }, { ini, "--" }, { "--", "true" }, { ini, "true" }, { "--nonsense", ini, "--", "true" } } do
      local result = support.run { support.paths.command, "run", unpack(argv) }
      assert.equal(2, result.code, table.concat(argv, " "))
      assert.equal("", result.stdout)
    end
  end)

  it("is inert without its object", function()
    local directory = support.tmpdir()
    lfs.mkdir(directory .. "/bin")
    support.write(directory .. "/bin/forksafe", support.read(support.paths.command), tonumber("755", 8))
    local _, ini = application {}
    local result = support.run { directory .. "/bin/forksafe", "run", ini, "--", "true" }
    assert.equal(1, result.code)
    assert.matches("libforksafe_preload.so is not beside this command", result.stderr)
  end)
end)
