-- SPDX-License-Identifier: MIT
--
-- The module in Debian's Apache as a user runs it, with the prefork and the event MPM: real requests, answered through mod_lua, and
-- what the hooks recorded compared with the master's children in /proc and with the pids in the answers.
local apache = require "support.apache"
local pwd = require "posix.pwd"
local signal = require "posix.signal"
local socket = require "socket"
local stat = require "posix.sys.stat"
local servers = require "support.server"
local support = require "support"

local SOURCE = support.paths.root .. "/adapters/apache/mod_forksafe.c"
local WORKERS = 3
local STARTED = { MasterReady = "pre_mpm", PreFork = "make_child", PostFork = "child_init", PostWorkerInit = "child_init" }
local EVENTS = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" }

local count, pids_in, said, wait_said, history = servers.count, servers.pids_in, servers.said, servers.wait_said, servers.history

local configure, start = apache.configure, apache.start

-- Starts it as a daemon: the server as it was spawned, with the pid that it became, and that process.
local function start_daemon(t)
  t.arguments = { "-k", "start" }
  local server = start(t)
  assert.same({ "exited", 0 }, { server:wait() }, server:output())
  wait_said(server, "PostWorkerInit", WORKERS)
  local daemon = support.adopt(tonumber(support.read(server.directory .. "/pid")))
  server.pid, server.children = daemon.pid, daemon.children
  return server, daemon
end

local function answering(server, number)
  return servers.answering(server, number or WORKERS)
end

local function log_of(server)
  return support.read(server.log) .. server:output()
end

-- Another command, as `apache2 -t`, with that server's configuration.
local function command(server, ...)
  return support.run { apache.PROGRAM, "-f", server.directory .. "/httpd.conf", ... }
end

-- Those of a list that are of one worker.
local function of_worker(list, worker)
  local found = {}
  for _, one in ipairs(list) do
    table.insert(found, one.worker == worker and one or nil)
  end
  return found
end

-- How the ends of children were told, by pid: "0/nil".
local function ends_of(server)
  local told = {}
  for _, one in ipairs(said(server, "ChildExit")) do
    local pid, how = one.child:match "^(%d+)/(.*)$"
    assert.is_nil(told[tonumber(pid)], "told twice")
    assert.same({ server.pid, "master" }, { one.pid, one.role })
    told[tonumber(pid)] = how
  end
  return told
end

-- The one description of a start: who is forked and who answers recorded it, and nobody else.
local function assert_hooked(server, row, seconds)
  wait_said(server, "PostWorkerInit", WORKERS, seconds)
  local workers = row.lua == "none" and server:children() or answering(server)
  local object = servers.assert_recorded(server, { workers = workers, seconds = seconds, container = "apache", hooks = STARTED })
  assert.equal("Apache hook configured", object.status)
  assert.equal("Apache", object.environment)
  assert.same({ "Apache available", "Apache hook configured" }, object["autoconfigure.log"])
  assert.equal(1, #support.all_files(support.runtime_dir()))
  servers.assert_fields(server, { workers = WORKERS, events = EVENTS })
  return object, workers
end

-- The module compiled from another source or without its run path, as this build compiled it: returns its path.
local function built_module(source, run_path)
  return servers.compiled_again { file = SOURCE, source = source, name = "mod_forksafe.so", run_path = run_path }
end

-- Makes the second child call exit(3): what PreFork keeps in the master, its children inherit. All of them fork a process that calls
-- exit(7), which says nothing of theirs.
local EXIT_3 = [[
  local ffi = require "ffi"
  ffi.cdef "int fork(void); void exit(int); int waitpid(int, int *, int);"
  local forks = 0
  forksafe.subscribe("ApplicationPreFork", function() forks = forks + 1 end, { name = "count" })
  forksafe.subscribe("ApplicationPostWorkerInit", function()
    local pid = ffi.C.fork()
    if pid == 0 then ffi.C.exit(7) end
    ffi.C.waitpid(pid, nil, 0)
    if forks == 2 then ffi.C.exit(3) end
  end, { name = "exit 3", order = 90 })
]]

describe("Apache", function()
  local rows = {
    { mpm = "prefork", name = "prefork, before mod_lua" },
    { mpm = "prefork", name = "prefork, after mod_lua", lua = "before" },
    { mpm = "prefork", name = "prefork, without mod_lua", lua = "none" },
    { mpm = "event", name = "event, before mod_lua" },
    { mpm = "event", name = "event, after mod_lua", lua = "before" },
    { mpm = "worker", name = "worker" },
  }
  for _, row in ipairs(rows) do
    it("(" .. row.name .. ") runs PreFork in the master, PostFork and PostWorkerInit as the user of every worker", function()
      local _, workers = assert_hooked(start(row), row)
      local user = pwd.getpwnam("www-data").pw_uid
      for _, pid in ipairs(workers) do
        assert.equal(user, stat.stat("/proc/" .. pid).st_uid)
      end
      assert.equal(user, stat.stat(support.all_files(support.runtime_dir())[1]).st_uid)
    end)
  end

  it("has none of it without the one call of the module", function()
    local source, line = support.without_line(SOURCE, "forksafe_emit%(")
    assert.truthy(line:find("obey(forksafe_emit(event, &occasion), event);", 1, true))
    local server = start { module = built_module(source) }
    support.fails(function()
      assert_hooked(server, {}, 2)
    end)
    answering(server)
    assert.equal("Apache hook configured", support.debug(server.ini).status)
  end)

  for _, mpm in ipairs { "prefork", "event" } do
    it("(" .. mpm .. ") takes the daemon for the master", function()
      local server, daemon = start_daemon { mpm = mpm }
      assert_hooked(server, {})
      assert.is_true(daemon:stop())
      assert.same({ daemon.pid }, pids_in(said(server, "Shutdown")))
      assert.equal(1, #said(server, "MasterReady"))
    end)

    it("(" .. mpm .. ") with -X runs the worker's hooks in the one process, which nobody forked", function()
      local server = start { mpm = mpm, arguments = { "-X" } }
      assert.same({ server.pid }, answering(server, 1))
      assert.same({}, server:children())
      assert.equal(0, servers.finish(server))
      for _, event in ipairs { "MasterReady", "PostFork", "PostWorkerInit", "WorkerExit", "Shutdown" } do
        local list = said(server, event)
        assert.equal(1, #list, event)
        assert.same({ server.pid, "single", false }, { list[1].pid, list[1].role, list[1].forked }, event)
      end
      assert.equal("MasterReady PostFork PostWorkerInit WorkerExit Shutdown",
        (history(support.debug(server.ini, { previous = true }), server.pid)))
    end)

    it("(" .. mpm .. ") tells how each worker ended, and gives its replacement the same slot", function()
      local server = start {
        mpm = mpm, hooks = { ["exit3.lua"] = EXIT_3 }, keys = "forksafe.lua_libs = full\nforksafe.scripts = %(here)s/hooks",
      }
      wait_said(server, "ChildExit", 1)
      local victims = { of_worker(said(server, "PostFork"), 2)[1] }
      assert.equal("3/nil", ends_of(server)[victims[1].pid])
      for i, name in ipairs { "SIGKILL", "SIGSEGV" } do
        wait_said(server, "PostWorkerInit", WORKERS + i)
        victims[i + 1] = of_worker(said(server, "PostFork"), 2)[i + 1]
        signal.kill(victims[i + 1].pid, signal[name])
        wait_said(server, "ChildExit", i + 1)
      end
      wait_said(server, "PostWorkerInit", WORKERS + 2)
      assert.same({ [victims[1].pid] = "3/nil", [victims[2].pid] = "nil/9", [victims[3].pid] = "nil/11" }, ends_of(server))
      for _, one in ipairs(said(server, "ChildExit")) do
        assert.equal(2, one.worker)
      end
      for _, event in ipairs { "PreFork", "PostFork" } do
        assert.equal(4, #of_worker(wait_said(server, event, WORKERS + 3), 2), event)
      end
      assert.same(answering(server), server:children())
      assert.equal(0, #said(server, "WorkerExit")) -- none of them was an orderly end
    end)

    it("(" .. mpm .. ") tells no signal of a worker's end where its log goes to syslog, which has no word of that", function()
      local server = start { mpm = mpm, main = "ErrorLog syslog\n" }
      answering(server)
      signal.kill(server:children()[1], signal.SIGSEGV)
      local record = support.eventually("a record of ChildExit", function()
        for _, one in ipairs(support.debug(server.ini).records) do
          if one.event == "ApplicationChildExit" then
            return one
          end
        end
      end)
      assert.same({ support.null, support.null }, { record.child.exit, record.child.signal })
    end)

    it("(" .. mpm .. ") runs ChildExit and Shutdown at its end, WorkerExit where no signal handler ends the worker", function()
      local server = start { mpm = mpm }
      local _, workers = assert_hooked(server, {})
      signal.kill(workers[1], signal.SIGKILL)
      wait_said(server, "PostWorkerInit", WORKERS + 1)
      local last = answering(server)
      assert.equal(0, servers.finish(server))
      local expected, orderly = { [workers[1]] = "nil/9" }, {}
      for _, pid in ipairs(last) do -- at TERM httpd's event MPM may crash by itself: it closes sockets that its threads are letting go of
        local crashed = mpm == "event" and servers.log(server):find("child pid " .. pid .. " exit signal Segmentation fault", 1, true)
        expected[pid] = crashed and "nil/11" or "0/nil"
        table.insert(orderly, not crashed and pid or nil)
      end
      assert.same(mpm == "event" and orderly or {}, pids_in(said(server, "WorkerExit")))
      assert.same(expected, ends_of(server))
      assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
      assert.equal("MasterReady PreFork PreFork PreFork ChildExit PreFork ChildExit ChildExit ChildExit Shutdown",
        (history(support.debug(server.ini, { previous = true }), server.pid)))
      assert.same({}, support.orphans())
    end)

    it("(" .. mpm .. ") runs WorkerExit in every worker at a graceful stop", function()
      local server = start { mpm = mpm }
      local _, workers = assert_hooked(server, {})
      assert.equal(0, servers.finish(server, apache.GRACEFUL_STOP))
      assert.same(workers, pids_in(said(server, "WorkerExit")))
      assert.equal(WORKERS, #said(server, "ChildExit"))
      assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
      assert.same({}, support.orphans())
    end)
  end
end)

describe("Apache's master", function()
  it("tells each end once when all workers end at the same time, and gives their numbers again", function()
    local server = start {}
    local _, workers = assert_hooked(server, {})
    for _, pid in ipairs(workers) do
      signal.kill(pid, signal.SIGKILL)
    end
    local all = wait_said(server, "PostFork", 2 * WORKERS, 20)
    assert.same({ [workers[1]] = "nil/9", [workers[2]] = "nil/9", [workers[3]] = "nil/9" }, ends_of(server))
    for worker = 1, WORKERS do
      assert.equal(2, #of_worker(all, worker))
    end
  end)

  -- A child that still serves a client, and the one that a graceful restart made in its place; nothing where httpd makes none: it may
  -- find its scoreboard full as long as the client is there.
  local function replaced_while_serving()
    local server = start {
      mpm = "worker", main = "StartServers 1\nServerLimit 1\nMaxRequestWorkers 2\nMinSpareThreads 1\nMaxSpareThreads 2\n",
    }
    local old = wait_said(server, "PostWorkerInit", 1)[1]
    assert.truthy(tonumber((support.http_wait(server.port))))
    local client = assert(socket.connect("127.0.0.1", server.port))
    assert(client:send "GET / HTTP/1.1\r\n")
    server:signal "USR1"
    for _ = 1, 50 do
      local new = said(server, "PostWorkerInit")[2]
      if new then
        return server, old, new, client
      end
      support.sleep(0.1)
    end
    client:close()
    server:stop()
  end

  it("has a number of its own for a child that takes the place of one that still serves", function()
    local server, old, new, client
    for _ = 1, 4 do
      server, old, new, client = replaced_while_serving()
      if server then
        break
      end
    end
    assert.truthy(server, "httpd never replaced a child that serves")
    assert.same(servers.sorted { old.pid, new.pid }, server:children())
    assert.same({ 1, 2 }, { old.worker, new.worker })
    client:close()
    local ended = wait_said(server, "ChildExit", 1, 20)[1]
    assert.same({ 1, old.pid .. "/0/nil" }, { ended.worker, ended.child })
    servers.finish(server)
    assert.same({ 1, 2 }, { said(server, "ChildExit")[1].worker, said(server, "ChildExit")[2].worker })
  end)

  local CGI = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s' $PPID\n"
  local SCRIPTS = "LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so\nScriptAlias /cgi %s/cgi\nScriptAlias /bad %s/bad\n"
  for _, row in ipairs { { "prefork", "cgi" }, { "event", "cgid" } } do
    local mpm, module = unpack(row)
    it(("(%s) takes no process of mod_%s for a worker, and none of their ends for one of it"):format(mpm, module), function()
      local scripts = support.tmpdir()
      support.write(scripts .. "/cgi", CGI, tonumber("755", 8))
      support.write(scripts .. "/bad", "#!/nowhere\n", tonumber("755", 8)) -- its exec fails, in a child of httpd
      local server = start {
        mpm = mpm, lua = "none", main = ("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n"):format(module, module)
          .. (module == "cgid" and "ScriptSock " .. scripts .. "/sock\n" or "") .. SCRIPTS:format(scripts, scripts),
      }
      wait_said(server, "PostWorkerInit", WORKERS)
      for _ = 1, 6 do
        assert.truthy(tonumber((support.http_wait(server.port, "/cgi"))))
        assert.equal(500, (support.http_get(server.port, "/bad")))
      end
      local workers = pids_in(said(server, "PostFork"))
      assert.same({ WORKERS, WORKERS, WORKERS }, { #said(server, "PreFork"), #workers, #said(server, "PostWorkerInit") })
      assert.equal(module == "cgid" and WORKERS + 1 or WORKERS, #server:children())
      for _, pid in ipairs(workers) do
        signal.kill(pid, signal.SIGKILL)
      end
      wait_said(server, "ChildExit", WORKERS)
      assert.same({ [workers[1]] = "nil/9", [workers[2]] = "nil/9", [workers[3]] = "nil/9" }, ends_of(server))
      assert.equal(0, #said(server, "WorkerExit"))
    end)
  end
end)

describe("a restart of Apache", function()
  local function hash(server)
    for _, subscriber in ipairs(support.debug(server.ini).subscribers) do
      if subscriber.path:find "/postfork%.lua$" then
        return subscriber.hash
      end
    end
  end

  local function number_of(set)
    local number = 0
    for _ in pairs(set) do
      number = number + 1
    end
    return number
  end

  -- The master told the restart, and only workers of that generation are left: their pids.
  local function assert_restarted(server, generation)
    wait_said(server, "PostWorkerInit", generation * WORKERS, 20)
    local reload = said(server, "Reload")
    assert.equal(generation - 1, #reload)
    assert.same({ server.pid, "master", generation }, { reload[#reload].pid, reload[#reload].role, reload[#reload].generation })
    servers.assert_fields(server, { workers = WORKERS, generation = generation, events = { "PreFork", "PostFork", "PostWorkerInit" } })
    local workers = support.eventually("the old workers are gone", function()
      local children = server:children()
      return #children == WORKERS and children, support.read(server.log)
    end)
    assert.same(pids_in(servers.of_generation(said(server, "PostFork"), generation)), workers)
    assert.same(workers, answering(server))
    return workers
  end

  for _, mpm in ipairs { "prefork", "event" } do
    it("(" .. mpm .. ") graceful or not, raises the generation and reads the scripts again, for workers 1 to 3", function()
      local server = start { mpm = mpm, hooks = { ["postfork.lua"] = "return function() end\n" } }
      local workers = answering(server)
      local before, journals = hash(server), support.all_files(server.runtime_dir)
      support.write(server.directory .. "/hooks/postfork.lua", "return function() forksafe.log.info('the changed hook') end\n")
      server:signal "USR1"
      local later = assert_restarted(server, 2)
      local descriptors = number_of(support.fds(server.pid))
      assert.same(workers, pids_in(said(server, "WorkerExit")))
      assert.equal(WORKERS, count(support.read(server.log), "the changed hook"))
      assert.are_not.equal(before, hash(server))
      assert.same(journals, support.all_files(server.runtime_dir))
      support.write(server.directory .. "/hooks/postfork.lua", "this is no Lua\n")
      server:signal "HUP"
      support.eventually("the old scripts stay", function()
        return count(support.read(server.log), "the changed hook") == 2 * WORKERS
      end)
      assert.truthy(support.read(server.log):find "%[forksafe:error%][^\n]*postfork%.lua:1: ")
      support.write(server.directory .. "/hooks/postfork.lua", "return function() forksafe.log.info('the third hook') end\n")
      answering(server)
      server:signal "HUP"
      support.eventually("the new scripts run", function()
        return count(support.read(server.log), "the third hook") == WORKERS
      end)
      for _, pid in ipairs(later) do
        assert.equal("0/nil", ends_of(server)[pid])
      end
      assert.equal(1, #said(server, "MasterReady"))
      assert.same(journals, support.all_files(server.runtime_dir))
      assert.equal(descriptors, number_of(support.fds(server.pid)))
    end)
  end

  it("without the module ends the hooks, and one with it brings them back", function()
    local server = start {}
    local _, workers = assert_hooked(server, {})
    configure(server, { load = "", forksafe = "" })
    server:signal "HUP"
    support.eventually("other workers", function()
      return not servers.has(server:children(), workers[1]) and #server:children() == WORKERS
    end)
    answering(server)
    assert.same({ WORKERS, WORKERS }, { #said(server, "PreFork"), #said(server, "PostFork") })
    configure(server, {})
    server:signal "HUP"
    assert.equal(2, wait_said(server, "PostWorkerInit", 2 * WORKERS)[2 * WORKERS].generation)
    assert.equal(0, servers.finish(server))
    assert.equal(1, #said(server, "Shutdown"))
  end)

  it("that is graceful and brings the module brings the hooks, and their master", function()
    local server = start { load = "", forksafe = "" }
    answering(server)
    configure(server, {})
    server:signal "USR1"
    wait_said(server, "PostWorkerInit", WORKERS)
    servers.assert_fields(server, { workers = WORKERS, events = EVENTS })
    assert.same({}, said(server, "Reload"))
  end)

  it("and a test of the configuration open nothing", function()
    local server = start {}
    assert_hooked(server, {})
    local journals = support.all_files(server.runtime_dir)
    local test = command(server, "-t")
    assert.equal(0, test.code, test.output)
    assert.is_nil(test.output:find "forksafe[%[:]")
    assert.same(journals, support.all_files(server.runtime_dir))
    assert.equal(0, servers.finish(server))
    os.remove(journals[1])
    assert.equal(0, command(server, "-t").code)
    assert.same({}, support.all_files(server.runtime_dir))
    assert.equal(WORKERS, #said(server, "PreFork"))
  end)
end)

describe("on_error under Apache", function()
  local FAILS = 'forksafe.subscribe("Application%s", function(event) if event.worker == 2 then error "not this one" end end, { on_error = "%s" })'

  -- With prefork: on_error_spec.lua.
  for _, event in ipairs { "PostFork", "PostWorkerInit" } do
    it("(event) = retire_worker at " .. event .. " replaces that worker, and keeps the others", function()
      local server = start { mpm = "event", hooks = { ["retire.lua"] = FAILS:format(event, "retire_worker") } }
      wait_said(server, "ChildExit", 2, 20)
      for pid, how in pairs(ends_of(server)) do
        assert.equal("0/nil", how, "the end of " .. pid)
      end
      for _, one in ipairs(said(server, "ChildExit")) do
        assert.equal(2, one.worker)
      end
      for i, one in ipairs(said(server, "PostFork")) do
        assert.is_true(i > WORKERS or one.worker == 2 or support.alive(one.pid))
      end
      assert.equal(2, said(server, "WorkerExit")[1].worker)
      assert.truthy(tonumber((support.http_wait(server.port))))
      servers.finish(server)
    end)
  end

  for _, event in ipairs { "PreFork", "PostWorkerInit" } do
    it("(event) = stop_server at " .. event .. " ends the server in order", function()
      local server = start { mpm = "event", hooks = { ["stop.lua"] = FAILS:gsub("if event.worker == 2 then", "do"):format(event, "stop_server") } }
      assert.same({ "exited", 0 }, { server:wait(20) }, log_of(server))
      assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
      assert.truthy(support.read(server.log):find "%[forksafe:error%][^\n]*forksafe: the server stops, as a subscriber asked for")
      assert.same({}, support.orphans())
    end)
  end

  it("= stop_server ends the one process of -X", function()
    local server = start { arguments = { "-X" }, hooks = { ["stop.lua"] = FAILS:gsub("if event.worker == 2 then", "do")
      :format("PostWorkerInit", "stop_server") } }
    assert.same({ "exited", 0 }, { server:wait() }, log_of(server))
    assert.equal(1, #said(server, "Shutdown"))
  end)
end)

describe("Apache with an ini", function()
  it("that is bad serves without hooks, says in one line where, and a restart with a good one brings them", function()
    local server = start { keys = "forksafe.scripts = %(nowhere)s/hooks" }
    assert.same(answering(server), server:children())
    assert.equal(1, count(log_of(server), "%[forksafe:error%][^\n]* forksafe[^\n]*production%.ini:3"))
    assert.equal(1, count(log_of(server), "%] forksafe"))
    support.write(server.ini, "[forksafe]\nscripts = hooks\n")
    server:signal "HUP"
    wait_said(server, "PostWorkerInit", WORKERS)
  end)

  local bad = {
    { name = "an ini", keys = "forksafe.scripts = %(nowhere)s/hooks", line = "production%.ini:3[^\n]*", code = 0 },
    { name = "a script", hooks = { ["bad.lua"] = "this is no Lua\n" }, line = "bad%.lua:1: [^\n]*", code = 0 },
    { name = "an ini that says forksafe is required", keys = "forksafe.required = true\nforksafe.scripts = nowhere", line = "nowhere", code = 1 },
  }
  for _, row in ipairs(bad) do
    it("has a test of the configuration (-t) that says in one line what is wrong with " .. row.name, function()
      row.arguments = { "-t" }
      local server = start(row)
      assert.same({ "exited", row.code }, { server:wait() })
      assert.equal(1, count(server:output(), "%[forksafe:error%][^\n]* forksafe[^\n]*" .. row.line), server:output())
      assert.equal(row.code == 0, server:output():find "Syntax OK" ~= nil)
      assert.same({}, support.all_files(server.runtime_dir))
    end)
  end

  it("that is bad and says that forksafe is required does not start, and leaves no pid file", function()
    local server = start { keys = "forksafe.required = true\nforksafe.scripts = nowhere" }
    assert.same({ "exited", 1 }, { server:wait() }, log_of(server))
    assert.truthy(support.read(server.log):find "%[forksafe:error%][^\n]* forksafe[^\n]*nowhere")
    assert.is_nil(support.read(server.directory .. "/pid"))
    assert.is_nil((support.http_get(server.port)))
  end)

  it("that nobody names serves without hooks, and says so in one line", function()
    local server = start { forksafe = "" }
    assert.same(answering(server), server:children())
    assert.equal(1, count(log_of(server), '%[forksafe:notice%][^\n]* forksafe: no hooks: no "Forksafe INI", and no FORKSAFE_INI\n'))
    assert.equal(1, count(log_of(server), "%] forksafe"))
  end)

  local sources = {
    { name = "FORKSAFE_INI", forksafe = "", env = { FORKSAFE_INI = "DIR/production.ini" } },
    { name = "the directive before FORKSAFE_INI", env = { FORKSAFE_INI = "DIR/nowhere.ini" } },
    { name = "another application with #APP", forksafe = "Forksafe production.ini#other",
      keys = "[app:other]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks" },
  }
  for _, row in ipairs(sources) do
    it("reads that of " .. row.name, function()
      local server = start(row)
      wait_said(server, "PostWorkerInit", WORKERS)
    end)
  end

  local wrong = {
    { name = "a second directive", main = "Forksafe other.ini\n", line = "a server has one Forksafe directive, and this one has it at [^\n]+/httpd%.conf:%d+\n" },
    { name = "a directive in a virtual host", main = "<VirtualHost *>\nForksafe other.ini\n</VirtualHost>\n", line = "Forksafe cannot occur within <VirtualHost>" },
    { name = "a directive without an ini", main = "Forksafe\n", line = "Forksafe takes one argument" },
  }
  for _, row in ipairs(wrong) do
    it("refuses " .. row.name, function()
      local server = start { main = row.main, arguments = { "-t" } }
      assert.same({ "exited", 1 }, { server:wait() })
      assert.truthy(server:output():find(row.line), server:output())
    end)
  end
end)

describe("the Apache module", function()
  it("of another module API is refused by httpd", function()
    local source = support.tmpdir() .. "/mod_forksafe.c"
    support.write(source, (support.read(SOURCE):gsub("\nmodule AP_MODULE",
      "\n#undef MODULE_MAGIC_NUMBER_MAJOR\n#define MODULE_MAGIC_NUMBER_MAJOR 20000101\n%0", 1)))
    local server = start { module = built_module(source) }
    assert.same({ "exited", 1 }, { server:wait() })
    assert.truthy(server:output():find 'mod_forksafe%.c" is not compatible with this version of Apache', server:output())
  end)

  it("without its library is refused by httpd", function()
    local server = start { module = built_module(SOURCE, "/nowhere") }
    assert.same({ "exited", 1 }, { server:wait() })
    assert.truthy(server:output():find "Cannot load [^\n]*mod_forksafe%.so into server: libforksafe%.so%.0: cannot open", server:output())
  end)

  it("is installed where Apache looks, with a library that it finds there", function()
    servers.assert_installed(function(prefix)
      return start { module = prefix .. "/lib/apache2/modules/mod_forksafe.so" }
    end, WORKERS)
  end)

  it("runs the example as its README says", function()
    local example, directory, port = support.paths.root .. "/examples/apache", support.tmpdir(), support.free_port()
    for _, path in ipairs(support.all_files(example)) do
      local text = support.read(path):gsub("127%.0%.0%.1:8080", "127.0.0.1:" .. port):gsub("/tmp/forksafe%-apache", directory)
        :gsub("[./]*build/adapters/apache/mod_forksafe%.so", function()
          return support.paths.apache_module
        end)
      support.write(directory .. path:sub(#example + 1), text)
    end
    local server = support.spawn { apache.PROGRAM, "-d", directory, "-f", "httpd.conf", "-DFOREGROUND", cwd = directory }
    for worker = 1, WORKERS do
      server:wait_for(("forksafe%%[production%%-%%x+%%]: worker %d up as process %%d+, database 10%%.0%%.0%%.5\n"):format(worker))
    end
    local pid = support.http_wait(port):match "^served by process (%d+)\n$"
    signal.kill(tonumber(pid), signal.SIGKILL)
    server:wait_for("worker %d %(process " .. pid .. "%) was ended by signal 9\n")
  end)
end)
