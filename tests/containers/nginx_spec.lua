-- SPDX-License-Identifier: MIT
--
-- The module in Debian's nginx as a user runs it: real requests, and what the hooks recorded compared with the master's children in
-- /proc and with the pids in the answers.
local pwd = require "posix.pwd"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local scenario = require "support.scenario"
local servers = require "support.server"
local support = require "support"

local NGINX = "/usr/sbin/nginx"
local SOURCE = support.paths.root .. "/adapters/nginx/ngx_forksafe_module.c"
local WORKERS = 3
local EVENTS = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit" }

local count, pids_in, said, wait_said, history = servers.count, servers.pids_in, servers.said, servers.wait_said, servers.history

-- reuseport gives each worker a socket of its own, so that all of them get requests.
local CONFIGURATION = [[
LOAD
FORKSAFE
MAIN
worker_processes COUNT;
pid nginx.pid;
error_log LOG notice;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary;
  uwsgi_temp_path temporary; scgi_temp_path temporary;
  HTTP
  server { listen 127.0.0.1:PORT reuseport; return 200 $pid; }
}
]]

-- Writes nginx.conf anew: t.load (another line than that of the module), t.forksafe (another than `forksafe production.ini;`), t.main
-- and t.http (more lines), t.log, t.workers.
local function configure(server, t)
  local values = {
    LOAD = t.load or "load_module " .. (t.module or support.paths.nginx_module) .. ";", FORKSAFE = t.forksafe or "forksafe production.ini;",
    MAIN = t.main or "daemon off; user root;", HTTP = t.http or "", LOG = t.log or "stderr", PORT = server.port,
    COUNT = t.workers or WORKERS,
  }
  support.write(server.directory .. "/nginx.conf", (CONFIGURATION:gsub("%u+", values)))
end

-- Starts nginx with 3 workers: t of configure; t.hooks (text by file name), t.keys (lines of the ini), t.env.
local function start(t)
  local directory = servers.application(t.hooks)
  support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\n" .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  local argv = { NGINX, "-p", directory, "-c", "nginx.conf", env = {}, cwd = directory }
  for name, value in pairs(t.env or {}) do
    argv.env[name] = value:gsub("DIR", directory)
  end
  local port = support.free_port()
  configure({ directory = directory, port = port }, t)
  local server = support.spawn(argv)
  server.directory, server.ini, server.port, server.log = directory, directory .. "/production.ini", port, t.log
  return server
end

-- Starts nginx as a daemon: the server as it was spawned, with its log, and the process that it became.
local function start_daemon()
  local server = start { main = "daemon on; user root;", log = support.tmpdir() .. "/log" }
  assert.same({ "exited", 0 }, { server:wait() })
  wait_said(server, "PostWorkerInit", WORKERS)
  return server, support.adopt(tonumber(support.read(server.directory .. "/nginx.pid")), "QUIT")
end

local function answering(server, number)
  return servers.answering(server, number or WORKERS)
end

local function finish(server)
  return servers.finish(server, "QUIT")
end

-- Another nginx command, as `nginx -s reload`, with that server's configuration.
local function command(server, ...)
  return support.run { NGINX, "-p", server.directory, "-c", "nginx.conf", cwd = server.directory, ... }
end

-- Those of a list that are of one worker.
local function of_worker(list, worker)
  local found = {}
  for _, one in ipairs(list) do
    table.insert(found, one.worker == worker and one or nil)
  end
  return found
end

-- The pids of those that said PostFork as a helper.
local function helpers_of(server)
  local list = {}
  for _, one in ipairs(said(server, "PostFork")) do
    table.insert(list, one.role == "helper" and one or nil)
  end
  return pids_in(list)
end

-- The one description of a start: who is forked and who answers recorded it, and nobody else.
local function assert_hooked(server, row, seconds)
  local workers = answering(server)
  local object = servers.assert_recorded(server, { workers = workers, helpers = row.helpers, seconds = seconds, container = "nginx", hooks = {
    MasterReady = "master_process_cycle", PreFork = "spawn_process", PostFork = "init_process", PostWorkerInit = "posted_next_events",
  } })
  assert.equal("nginx hook configured", object.status)
  assert.equal("nginx", object.environment)
  assert.same({ "nginx available", "nginx hook configured" }, object["autoconfigure.log"])
  assert.equal(1, #support.all_files(support.runtime_dir()))
  if not row.helpers then
    servers.assert_fields(server, { workers = WORKERS, events = EVENTS })
  end
  return object, workers
end

-- The module compiled from another source, as this build compiled it: returns its path.
local function built_module(source)
  return servers.compiled_again { file = SOURCE, source = source, name = "ngx_forksafe_module.so" }
end

describe("nginx", function()
  scenario.of {
    container = "nginx", finish = finish,
    hooks = {
      MasterReady = "master_process_cycle", PreFork = "spawn_process", PostFork = "init_process", PostWorkerInit = "posted_next_events",
      WorkerExit = "exit_process", ChildExit = "reap_children", Reload = "init_module", Shutdown = "exit_master",
    },
    start = function(hooks)
      return start { hooks = hooks }
    end,
  }

  local rows = {
    { name = "with workers of another user", main = "daemon off; user www-data;", user = "www-data" },
    { name = "with workers of the master's user", user = "root" },
    { name = "with requests from a thread pool", main = "daemon off; user root; thread_pool default threads=4;", http = "aio threads;" },
  }
  for _, row in ipairs(rows) do
    it(row.name .. " runs PreFork in the master, PostFork and PostWorkerInit in every worker", function()
      local _, workers = assert_hooked(start(row), row)
      local user = pwd.getpwnam(row.user or "root").pw_uid
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
    assert.equal("nginx hook configured", support.debug(server.ini).status)
  end)

  it("calls the cache manager and the cache loader helpers, and no workers", function()
    local server = start { http = "proxy_cache_path cache keys_zone=one:1m loader_sleep=0;" }
    wait_said(server, "PostFork", WORKERS + 2)
    local helpers = helpers_of(server)
    assert.equal(2, #helpers)
    assert_hooked(server, { helpers = helpers })
    for _, one in ipairs(said(server, "PostFork")) do
      assert.equal(one.role == "worker", one.worker ~= nil)
    end
    signal.kill(helpers[1], signal.SIGKILL)
    if servers.has(server:children(), helpers[2]) then
      signal.kill(helpers[2], signal.SIGKILL)
    end
    wait_said(server, "PostFork", WORKERS + 3) -- the manager's; nginx forks no second loader
    assert.equal(3, #helpers_of(server))
    assert.equal(WORKERS, #said(server, "PreFork"))
    assert.equal(0, #said(server, "ChildExit"))
    assert.equal(0, finish(server))
    assert.equal(WORKERS, #said(server, "ChildExit"))
  end)

  it("takes the daemon for the master", function()
    local server, daemon = start_daemon()
    server.pid, server.children = daemon.pid, daemon.children
    assert_hooked(server, {})
    assert.is_true(daemon:stop())
    assert.same({ daemon.pid }, pids_in(said(server, "Shutdown")))
  end)

  it("with master_process off runs the worker's hooks in the one process, which nobody forked", function()
    -- workers = 1: nginx makes a socket for each worker that reuseport is for, and nobody would serve the others'
    local server = start { main = "daemon off; master_process off; user root; env RUNTIME_DIRECTORY;", workers = 1 }
    assert.same({ server.pid }, answering(server, 1))
    assert.same({}, server:children())
    wait_said(server, "PostWorkerInit", 1)
    server:signal "HUP"
    assert.equal(2, wait_said(server, "Reload", 1)[1].generation)
    assert.equal(0, finish(server))
    assert.equal(0, #said(server, "PreFork"))
    for _, event in ipairs { "MasterReady", "PostFork", "PostWorkerInit", "Reload", "WorkerExit", "Shutdown" } do
      local list = said(server, event)
      assert.equal(1, #list, event)
      assert.same({ server.pid, "single", false }, { list[1].pid, list[1].role, list[1].forked }, event)
    end
    assert.equal("MasterReady PostFork PostWorkerInit Reload WorkerExit Shutdown",
      (history(support.debug(server.ini, { previous = true }), server.pid)))
  end)
end)

describe("nginx's master", function()
  local EXIT_3 = [[
    local ffi = require "ffi"
    ffi.cdef "void _exit(int);"
    forksafe.subscribe("ApplicationPostWorkerInit", function(event)
      if event.worker == 2 and os.remove(event.registry.settings.once) then ffi.C._exit(3) end
    end, { name = "exit 3", order = 90 })
  ]]
  local ends = {
    { name = "SIGKILL", child = "nil/9", signal = signal.SIGKILL },
    { name = "SIGSEGV", child = "nil/11", signal = signal.SIGSEGV },
    { name = "exit(3)", child = "3/nil", hooks = { ["exit3.lua"] = EXIT_3, once = "" },
      keys = "once = %(here)s/hooks/once\nforksafe.lua_libs = full\nforksafe.scripts = %(here)s/hooks" },
  }
  for _, row in ipairs(ends) do
    it("tells a worker's end by " .. row.name .. " as ChildExit, and records the replacement in the same slot", function()
      local server = start(row)
      wait_said(server, "PostWorkerInit", WORKERS)
      local victim = of_worker(said(server, "PostFork"), 2)[1]
      if row.signal then
        signal.kill(victim.pid, row.signal)
      end
      wait_said(server, "PostWorkerInit", WORKERS + 1)
      local gone = said(server, "ChildExit")
      assert.equal(1, #gone)
      assert.equal(victim.pid .. "/" .. row.child, gone[1].child)
      assert.same({ server.pid, "master", 2 }, { gone[1].pid, gone[1].role, gone[1].worker })
      for _, event in ipairs { "PreFork", "PostFork", "PostWorkerInit" } do
        assert.equal(2, #of_worker(said(server, event), 2), event)
      end
      assert.truthy(servers.has(server:children(), of_worker(said(server, "PostFork"), 2)[2].pid))
      assert.same(answering(server), server:children())
      assert.equal(0, #said(server, "WorkerExit")) -- none of them was an orderly end
    end)
  end

  it("tells each end once when all workers end at the same time", function()
    local server = start {}
    local _, workers = assert_hooked(server, {})
    for _, pid in ipairs(workers) do
      signal.kill(pid, signal.SIGKILL)
    end
    wait_said(server, "PostWorkerInit", 2 * WORKERS)
    local told = {}
    for _, one in ipairs(said(server, "ChildExit")) do
      table.insert(told, { pid = tonumber(one.child:match "^(%d+)/nil/9$") })
    end
    assert.same(workers, pids_in(told))
  end)

  it("runs WorkerExit, ChildExit and Shutdown at an orderly end, and leaves nothing running", function()
    local server = start {}
    local _, workers = assert_hooked(server, {})
    signal.kill(workers[1], signal.SIGKILL) -- so that one slot has had two
    wait_said(server, "PostWorkerInit", WORKERS + 1)
    local last = answering(server)
    assert.equal(0, finish(server))
    assert.same(last, pids_in(said(server, "WorkerExit")))
    assert.equal(WORKERS + 1, #said(server, "ChildExit"))
    for i, one in ipairs(said(server, "ChildExit")) do
      assert.truthy(one.child:find(i == 1 and "/nil/9$" or "/0/nil$"), one.child)
    end
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
    local object = support.debug(server.ini, { previous = true })
    assert.same(last, support.pids_of(object, "ApplicationWorkerExit"))
    assert.equal("MasterReady PreFork PreFork PreFork ChildExit PreFork ChildExit ChildExit ChildExit Shutdown", (history(object, server.pid)))
    assert.same({}, support.orphans())
  end)

  it("does not take a new binary for a worker, whose own workers are hooked", function()
    local server, old = start_daemon()
    old:signal "USR2"
    wait_said(server, "PostWorkerInit", 2 * WORKERS)
    local new = tonumber(support.read(server.directory .. "/nginx.pid"))
    assert.truthy(servers.has(old:children(), new))
    local forking = {}
    for _, one in ipairs(said(server, "PreFork")) do
      forking[one.pid] = (forking[one.pid] or 0) + 1
    end
    assert.same({ [old.pid] = WORKERS, [new] = WORKERS }, forking)
    assert.equal(2, #support.debug(server.ini).masters)
    old:signal "QUIT"
    assert.same({ "exited", 0 }, { old:wait() })
    local master = support.adopt(new, "QUIT")
    assert.same(answering(server), master:children())
    assert.is_true(master:stop())
    assert.same({ old.pid, new }, { said(server, "Shutdown")[1].pid, said(server, "Shutdown")[2].pid })
  end)
end)

describe("a reload of nginx", function()
  local function hash(server)
    for _, subscriber in ipairs(support.debug(server.ini).subscribers) do
      if subscriber.path:find "/postfork%.lua$" then
        return subscriber.hash
      end
    end
  end

  it("raises the generation and reads the scripts again, for workers 1 to 3", function()
    local server = start { main = "daemon off; user www-data;", hooks = { ["postfork.lua"] = "return function() end\n" } }
    local workers = answering(server)
    local before, journals = hash(server), support.all_files(server.runtime_dir)
    support.write(server.directory .. "/hooks/postfork.lua", "return function() forksafe.log.info('the changed hook') end\n")
    assert.equal(0, command(server, "-s", "reload").code)
    wait_said(server, "PostWorkerInit", 2 * WORKERS)
    support.eventually("the old workers are gone", function()
      return #server:children() == WORKERS
    end)
    local later = answering(server)
    assert.same(later, server:children())
    for _, pid in ipairs(workers) do
      assert.is_false(support.alive(pid))
    end
    local reload = said(server, "Reload")
    assert.same({ server.pid }, pids_in(reload))
    assert.equal(2, reload[1].generation)
    servers.assert_fields(server, { workers = WORKERS, generation = 2, events = { "PreFork", "PostFork", "PostWorkerInit" } })
    assert.equal(WORKERS, count(server:output(), "the changed hook"))
    assert.are_not.equal(before, hash(server))
    assert.same(journals, support.all_files(server.runtime_dir))
    -- nginx gives its modules no word of these ends, as no worker is forked for them: they are told at the next fork.
    signal.kill(later[1], signal.SIGKILL)
    local told = {}
    for _, one in ipairs(wait_said(server, "ChildExit", WORKERS + 1)) do
      told[tonumber(one.child:match "^%d+")] = one.child:match "/(.*)$"
    end
    assert.same({ [workers[1]] = "0/nil", [workers[2]] = "0/nil", [workers[3]] = "0/nil", [later[1]] = "nil/9" }, told)
  end)

  it("keeps the old scripts where the new ones do not load, and the server serves", function()
    local server = start { hooks = { ["postfork.lua"] = "return function() forksafe.log.info('the old hook') end\n" } }
    answering(server)
    support.write(server.directory .. "/hooks/postfork.lua", "this is no Lua\n")
    server:signal "HUP"
    wait_said(server, "PostFork", 2 * WORKERS)
    assert.equal(2 * WORKERS, count(server:output(), "the old hook"))
    assert.truthy(server:output():find "%[error%][^\n]*postfork%.lua:1: ")
    answering(server)
  end)

  it("does not take a child that a subscriber forks for a worker", function()
    local server = start { keys = "forksafe.lua_libs = full\nforksafe.scripts = %(here)s/hooks", hooks = { ["fork.lua"] = [[
      local ffi = require "ffi"
      ffi.cdef "int fork(void); void _exit(int); int waitpid(int, int *, int);"
      forksafe.subscribe("ApplicationReload", function()
        local pid = ffi.C.fork()
        if pid == 0 then ffi.C._exit(0) end
        ffi.C.waitpid(pid, nil, 0)
      end, { name = "fork" })
    ]] } }
    assert_hooked(server, {})
    server:signal "HUP"
    wait_said(server, "PostWorkerInit", 2 * WORKERS)
    assert.equal(1, #said(server, "Reload"))
    servers.assert_fields(server, { workers = WORKERS, generation = 2, events = { "PreFork", "PostFork", "PostWorkerInit" } })
  end)

  it("without the module ends the hooks, and one with it brings them back", function()
    local server = start {}
    assert_hooked(server, {})
    configure(server, { load = "", forksafe = "" })
    server:signal "HUP"
    local later = support.eventually("the old workers are gone", function()
      local children = server:children()
      return #said(server, "WorkerExit") == WORKERS and #children == WORKERS and children
    end)
    signal.kill(later[1], signal.SIGKILL)
    assert.same(answering(server), server:children())
    assert.same({ WORKERS, WORKERS }, { #said(server, "PreFork"), #said(server, "PostFork") })
    configure(server, {})
    server:signal "HUP"
    assert.equal(2, wait_said(server, "PostWorkerInit", 2 * WORKERS)[2 * WORKERS].generation)
  end)

  it("and a test of the configuration open nothing", function()
    local server = start {}
    assert_hooked(server, {})
    local journals = support.all_files(server.runtime_dir)
    local test = command(server, "-t")
    assert.equal(0, test.code, test.output)
    assert.is_nil(test.output:find "forksafe[%[:]")
    assert.equal(0, command(server, "-s", "reopen").code)
    assert.same(journals, support.all_files(server.runtime_dir))
    assert.equal(0, finish(server))
    os.remove(journals[1])
    assert.equal(0, command(server, "-t").code)
    assert.same({}, support.all_files(server.runtime_dir))
    assert.equal(WORKERS, #said(server, "PreFork"))
  end)
end)

describe("nginx with an ini", function()
  it("that is bad serves without hooks, and says in one line where", function()
    local server = start { keys = "forksafe.scripts = %(nowhere)s/hooks" }
    assert.same(answering(server), server:children())
    assert.equal(1, count(server:output(), "%[error%][^\n]* forksafe[^\n]*production%.ini:3"))
    assert.equal(1, count(server:output(), "#%d+: forksafe"))
    support.write(server.ini, "[forksafe]\nscripts = hooks\n")
    server:signal "HUP"
    wait_said(server, "PostWorkerInit", WORKERS)
  end)

  it("that is bad and says that forksafe is required does not start, and leaves no pid file", function()
    local server = start { keys = "forksafe.required = true\nforksafe.scripts = nowhere" }
    assert.same({ "exited", 1 }, { server:wait() }, server:output())
    assert.is_nil(support.read(server.directory .. "/nginx.pid"))
    assert.is_nil((support.http_get(server.port)))
  end)

  it("that nobody names serves without hooks, and says so in one line", function()
    local server = start { forksafe = "" }
    assert.same(answering(server), server:children())
    assert.equal(1, count(server:output(), '%[notice%][^\n]* forksafe: no hooks: no "forksafe INI;", and no FORKSAFE_INI\n'))
    assert.equal(1, count(server:output(), "#%d+: forksafe"))
  end)

  local sources = {
    { name = "FORKSAFE_INI", forksafe = "", env = { FORKSAFE_INI = "DIR/production.ini" } },
    { name = "the directive before FORKSAFE_INI", env = { FORKSAFE_INI = "DIR/nowhere.ini" } },
    { name = "another application with #APP", forksafe = "forksafe production.ini#other;",
      keys = "[app:other]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks" },
  }
  for _, row in ipairs(sources) do
    it("reads that of " .. row.name, function()
      local server = start(row)
      wait_said(server, "PostWorkerInit", WORKERS)
    end)
  end
end)

describe("the nginx module", function()
  it("is installed where nginx looks, with a library that it finds there", function()
    servers.assert_installed(function(prefix)
      return start { module = prefix .. "/lib/nginx/modules/ngx_forksafe_module.so" }
    end, WORKERS)
  end)

  it("runs the example as its README says", function()
    local example, directory, port = support.paths.root .. "/examples/nginx", support.tmpdir(), support.free_port()
    for _, path in ipairs(support.all_files(example)) do
      local text = support.read(path):gsub("127%.0%.0%.1:8080", "127.0.0.1:" .. port)
        :gsub("/tmp/forksafe%-nginx", directory .. "/temporary"):gsub("[./]*build/adapters/nginx/ngx_forksafe_module%.so", function()
          return support.paths.nginx_module
        end)
      support.write(directory .. path:sub(#example + 1), text)
    end
    local server = support.spawn { NGINX, "-p", ".", "-c", "nginx.conf", cwd = directory }
    for worker = 1, WORKERS do
      server:wait_for(("forksafe%%[production%%-%%x+%%]: worker %d up as process %%d+, database 10%%.0%%.0%%.5\n"):format(worker))
    end
    local pid = support.http_wait(port):match "^served by process (%d+)\n$"
    signal.kill(tonumber(pid), signal.SIGKILL)
    server:wait_for("worker %d %(process " .. pid .. "%) was ended by signal 9\n")
  end)
end)
