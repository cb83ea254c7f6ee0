-- SPDX-License-Identifier: MIT
--
-- Leaders: of all workers of a real server one runs what is subscribed with `leader`, another takes it over at a fork point when that one
-- has died, and there are never two.
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local journal = require "support.journal"
local prefork = require "containers.prefork_server"
local scripts = require "support.scripts"
local servers = require "support.server"
local support = require "support"

-- Says who leads, and looks itself whether the one before lives (/proc names no memory of a process that is at its end): what no sampling
-- from outside could miss.
local LEADER = [[
local path = %q
local function lives(pid)
  local stat = io.open("/proc/" .. pid .. "/stat")
  local text = stat and stat:read "*a" or ""
  if stat then stat:close() end
  local state, rest = text:match "%%) (%%a) (.*)"
  local memory = rest and select(20, rest:match(("(%%S+) "):rep(20)))
  return state and state ~= "Z" and state ~= "X" and memory ~= "0"
end
forksafe.subscribe("ApplicationPostWorkerInit", function(event)
  local file = io.open(path)
  local before = file and file:read "*n"
  if file then file:close() end
  if before and before ~= event.pid and lives(before) then forksafe.log.error("two leaders: %%d and %%d", before, event.pid) end
  file = io.open(path, "w")
  file:write(event.pid)
  file:close()
  forksafe.log.info("leads pid=%%d is=%%s.", event.pid, tostring(forksafe.is_leader "job"))
end, { name = "start", leader = "job" })
forksafe.subscribe("ApplicationWorkerExit", function(event) forksafe.log.info("led pid=%%d.", event.pid) end, { name = "end", leader = "job" })
forksafe.subscribe("ApplicationPostWorkerInit", function(event)
  forksafe.log.info("asked pid=%%d is=%%s.", event.pid, tostring(forksafe.is_leader "job"))
end, { name = "ask", order = 60 })
]]

local KEYS = "lua_libs = full\ntime_limit = 10s\n"

local function leader_script()
  return LEADER:format(support.tmpdir() .. "/leader")
end

-- The pids that have said it, in their order.
local function said(server, what)
  local pids = {}
  for pid in server:output():gmatch(what .. " pid=(%d+)") do
    table.insert(pids, tonumber(pid))
  end
  return pids
end

-- The leader that the journal has now, nil where there is none.
local function leader_of(server)
  local found
  for _, leader in ipairs(support.debug(server.ini).leaders) do
    assert.equal("job", leader.name)
    found = leader.pid ~= support.null and leader or found
  end
  return found
end

-- Waits for the lead to be taken for the n-th time, by a living process that is alone with it.
local function assert_leads(server, n)
  local pids = support.eventually("the lead is taken " .. n .. " times", function()
    local list = said(server, "leads")
    return #list >= n and list, server:output()
  end, 20)
  assert.equal(n, #pids)
  local living = 0
  for _, pid in ipairs(pids) do
    living = living + (support.alive(pid) and 1 or 0)
  end
  assert.equal(1, living)
  local leader = leader_of(server)
  assert.equal(pids[n], leader.pid)
  assert.equal(n, leader.taken)
  return leader
end

local function kill_leader(server, n)
  signal.kill(assert_leads(server, n).pid, signal.SIGKILL)
end

local function gunicorn(t)
  local directory = servers.application { ["lead.lua"] = leader_script() }
  support.write(directory .. "/app.ini", "[forksafe]\nscripts = hooks\n" .. KEYS)
  support.write(directory .. "/app.py", "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n")
  support.write(directory .. "/config.py", t.config)
  local server = support.spawn { support.paths.gunicorn, "--config", "config.py", "--workers", "4", "--graceful-timeout", "4",
    "--bind", "127.0.0.1:" .. support.free_port(), "app", cwd = directory, env = { PYTHONPATH = support.paths.python, FORKSAFE_INI = "app.ini" } }
  server.ini = directory .. "/app.ini"
  return server
end

local GUNICORN = "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init, worker_exit\n"

local function uwsgi()
  local directory = servers.application { ["lead.lua"] = leader_script() }
  support.write(directory .. "/app.ini", "[forksafe]\nscripts = hooks\n" .. KEYS)
  local server = support.spawn { "uwsgi", "--plugins-dir", support.paths.uwsgi_plugin:match "^(.*)/", "--plugin", "forksafe", "--forksafe",
    "app.ini", "--http-socket", "127.0.0.1:" .. support.free_port(), "--processes", "4", "--master", cwd = directory,
    stop_signal = "INT" }
  server.ini = directory .. "/app.ini"
  return server
end

describe("the leader", function()
  it("is one of 4 workers, moves to another each of the 50 times that it is killed, and there are never two", function()
    local server = gunicorn { config = GUNICORN }
    servers.wait_said(server, "PostWorkerInit", 4)
    for n = 1, 50 do
      kill_leader(server, n)
    end
    assert_leads(server, 51)
    assert.is_nil(server:output():find("two leaders", 1, true))
    assert.equal(51, servers.count(server:output(), "leads pid=%d+ is=true%."))
    assert.equal(51, servers.count(server:output(), "asked pid=%d+ is=true%."))
    assert.truthy(servers.count(server:output(), "asked pid=%d+ is=false%.") >= 3)
    assert.equal(4, #server:children())
    assert.equal(0, servers.finish(server))
    assert.same({ said(server, "leads")[51] }, said(server, "led"))
  end)

  it("is a new one after a reload of uWSGI, of the new generation", function()
    local server = uwsgi()
    servers.wait_said(server, "PostWorkerInit", 4)
    local first = assert_leads(server, 1)
    server:signal "HUP"
    servers.wait_said(server, "PostWorkerInit", 8)
    local second = assert_leads(server, 2)
    assert.is_false(support.alive(first.pid))
    assert.same({ first.pid }, said(server, "led"))
    assert.is_nil(server:output():find("two leaders", 1, true))
    assert.not_equal(first.pid, second.pid)
  end)

  it("stays the same in a reload of gunicorn until it has ended; whoever starts next has it then", function()
    local server = gunicorn { config = GUNICORN }
    servers.wait_said(server, "PostWorkerInit", 4)
    local first = assert_leads(server, 1)
    server:signal "HUP"
    servers.wait_said(server, "PostWorkerInit", 8)
    support.eventually("the old workers are gone", function()
      return #server:children() == 4 and not support.alive(first.pid)
    end)
    if #said(server, "leads") == 1 then
      assert.is_nil(leader_of(server))
      signal.kill(server:children()[1], signal.SIGKILL)
    end
    assert_leads(server, 2)
    assert.is_nil(server:output():find("two leaders", 1, true))
  end)

  it("is told in forksafe prefork by its slot, and the ones of a server that was killed are nobody", function()
    local server = prefork.start { hooks = { ["lead.lua"] = leader_script() }, keys = { KEYS }, workers = 4 }
    for n = 1, 3 do
      kill_leader(server, n)
    end
    local leader = assert_leads(server, 4)
    assert.equal(prefork.by_worker(prefork.said(server, "PostWorkerInit"))[leader.worker], leader.pid)
    server:signal "KILL"
    server:wait()
    support.eventually("all are gone", function()
      return not support.alive(leader.pid)
    end)
    local object = support.debug(server.ini, { previous = true })
    assert.same({ "job", support.null, support.null, support.null, 4 }, { object.leaders[1].name, object.leaders[1].pid,
      object.leaders[1].worker, object.leaders[1].since, object.leaders[1].taken })
  end)

  it("gives up what it took where its subscriber failed", function()
    local server = prefork.start { workers = 2, hooks = { ["lead.lua"] = [[
      local fails = true
      forksafe.subscribe("ApplicationChildExit", function() fails = false end)
      forksafe.subscribe("ApplicationPostWorkerInit", function(event)
        forksafe.log.info("leads pid=%d", event.pid)
        if fails then error "not me" end
      end, { name = "job", leader = true })
    ]] } }
    prefork.wait_said(server, "PostWorkerInit")
    support.eventually("one has tried and failed", function()
      return #said(server, "leads") > 0 and not leader_of(server)
    end)
    signal.kill(server:children()[1], signal.SIGKILL)
    prefork.wait_said(server, "PostWorkerInit", 3)
    support.eventually("the replacement leads", function()
      return leader_of(server)
    end)
  end)
end)

describe("a leader's lock", function()
  local C = journal.C
  require("ffi").cdef [[
uint32_t fks_leader_add(void *journal, const char *name, struct fks_error *error);
int fks_leader_take(void *journal, uint32_t id, int32_t worker);
void fks_leader_give_up(void *journal, uint32_t id);
bool fks_leader_is(uint32_t id);
]]
  local NOT, TAKEN, STILL = 0, 1, 2
  local NONE = 0xffffffff

  local function opened(names)
    local one, ids = journal.open(journal.ini()), {}
    for _, name in ipairs(names) do
      table.insert(ids, tonumber(C.fks_leader_add(one.handle, name, nil)))
    end
    return one, ids
  end

  it("is the process's alone: a child that it forks does not lead, and cannot take it", function()
    local one, ids = opened { "job" }
    assert.equal(TAKEN, C.fks_leader_take(one.handle, ids[1], 1))
    assert.equal(STILL, C.fks_leader_take(one.handle, ids[1], 1))
    journal.done(function()
      assert(not C.fks_leader_is(ids[1]))
      assert(C.fks_leader_take(one.handle, ids[1], 2) == NOT)
      C.fks_leader_give_up(one.handle, ids[1])
    end)
    assert.is_true(C.fks_leader_is(ids[1]))
    assert.equal(unistd.getpid(), one:read().leaders[1].pid)
    C.fks_leader_give_up(one.handle, ids[1])
    journal.done(function()
      assert(C.fks_leader_take(one.handle, ids[1], 2) == TAKEN)
    end)
    assert.equal(support.null, one:read().leaders[1].pid)
    assert.equal(TAKEN, C.fks_leader_take(one.handle, ids[1], 1))
    C.fks_leader_give_up(one.handle, ids[1])
  end)

  it("is one for each name, found again at a reload, and given to another name when none has it", function()
    local names = {}
    for i = 1, 16 do
      names[i] = "job " .. i
    end
    local one, ids = opened(names)
    assert.equal(15, ids[16])
    assert.equal(NONE, C.fks_leader_add(one.handle, "one more", nil))
    journal.stay(function()
      assert(C.fks_leader_take(one.handle, ids[1], 1) == TAKEN)
    end)
    C.fks_journal_next_generation(one.handle)
    assert.equal(ids[2], C.fks_leader_add(one.handle, "job 2", nil))
    assert.equal(ids[3], C.fks_leader_add(one.handle, "one more", nil)) -- the first is still had, the second is in use
    local shown = {}
    for _, leader in ipairs(one:read().leaders) do
      table.insert(shown, leader.name)
    end
    assert.same({ "job 1", "job 2", "one more" }, shown)
  end)
end)

describe("forksafe.subscribe refuses a leader", function()
  local function line(text)
    local result = scripts.test({ ["lead.lua"] = text }, "")
    assert.equal(1, result.code)
    return result.output
  end

  it("of an event that is in no worker", function()
    assert.truthy(line("forksafe.subscribe('ApplicationChildExit', print, { leader = true })"):find(
      "lead.lua:1: forksafe.subscribe: ApplicationChildExit has no leader: only ApplicationPostFork, ApplicationPostWorkerInit and "
      .. "ApplicationWorkerExit are in a worker", 1, true))
  end)

  it("that is no name", function()
    for _, value in ipairs { "7", "false", "{}" } do
      assert.truthy(line("forksafe.subscribe('ApplicationPostFork', print, { leader = " .. value .. " })"):find("option 'leader' is a ", 1, true))
    end
  end)

  it("beyond the sixteenth, and takes as many subscribers of one as there are", function()
    local text = "for i = 1, %d do forksafe.subscribe('ApplicationPostFork', function() end, { name = 's' .. i, leader = 'l' .. i %% %d }) end"
    assert.truthy(line(text:format(17, 17)):find("lead.lua:1: forksafe.subscribe: there are 16 leaders already, and no more can be", 1, true))
    assert.equal(0, scripts.test({ ["lead.lua"] = text:format(100, 16) }, "").code)
  end)
end)
