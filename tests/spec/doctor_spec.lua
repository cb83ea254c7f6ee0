-- SPDX-License-Identifier: MIT
--
-- `forksafe doctor`: what it finds in real servers from outside, beside an independent count over /proc, and that plain ones give nothing.
-- The static forksafe-doctor is held to the same.
local cjson = require "cjson"
local support = require "support"

local HERE = support.paths.data .. "/doctor"
local PYTHON = "/usr/bin/python3"
local STATIC = support.paths.build .. "/runtime/forksafe-doctor"

local function doctor(t)
  local argv = { support.paths.command, "doctor" }
  for _, word in ipairs(t) do
    table.insert(argv, tostring(word))
  end
  argv.env, argv.uid, argv.pty = t.env, t.uid, t.pty
  return support.run(argv)
end

-- The JSON about a process, and the exit code.
local function examine(pid)
  local result = doctor { "--json", pid }
  assert.truthy(result.code == 0 or result.code == 1, result.output)
  local object = cjson.decode(result.stdout)
  assert.equal(#object.findings > 0 and 1 or 0, result.code)
  return object, result.code
end

local function ids(object)
  local list = {}
  for _, finding in ipairs(object.findings) do
    table.insert(list, finding.id)
  end
  table.sort(list)
  return list
end

local function finding(object, id)
  for _, one in ipairs(object.findings) do
    if one.id == id then
      return one
    end
  end
  return support.fail("no finding " .. id .. ", but " .. table.concat(ids(object), ", "))
end

local function sorted(list)
  table.sort(list)
  return list
end

-- The process that connections lead to: pid, port, port6, path.
local function start_peer(where)
  local path = support.tmpdir() .. "/peer"
  local peer = support.spawn { PYTHON, HERE .. "/peer.py", path, where }
  local port, port6 = peer:wait_for "peer (%d+) (%d+)\n"
  return { pid = peer.pid, port = port, port6 = port6, path = path }
end

-- The program that opens `words` before it forks three workers.
local function start_unsafe(words, t)
  t = t or {}
  local argv = { PYTHON, HERE .. "/unsafe.py" }
  for _, word in ipairs(t.before or {}) do
    table.insert(argv, #argv - 1, word)
  end
  for word in words:gmatch "%S+" do
    table.insert(argv, word)
  end
  local peer = t.peer or {}
  argv.cwd, argv.uid = support.tmpdir(), t.uid
  if t.uid then
    support.give(argv.cwd, t.uid)
  end
  argv.env = { PEER_PORT = peer.port, PEER_PORT6 = peer.port6, PEER_PATH = peer.path }
  local server = support.spawn(argv)
  server.directory = argv.cwd
  server.workers = {}
  for pid in server:wait_for("ready ([%d ]+)\n"):gmatch "%d+" do
    table.insert(server.workers, tonumber(pid))
  end
  return server
end

local function everybody(server)
  local pids = { server.pid }
  for _, pid in ipairs(server.workers or server:children()) do
    table.insert(pids, pid)
  end
  return sorted(pids)
end

-- What the independent script counts in these processes.
local function count(pids)
  local argv = { PYTHON, support.paths.support .. "/proc_count.py" }
  for _, pid in ipairs(pids) do
    table.insert(argv, tostring(pid))
  end
  return cjson.decode(support.must_run(argv))
end

-- The same numbers from the doctor's findings.
local function counted(object)
  local out = { connections = {}, kinds = {}, files = {} }
  for _, one in ipairs(object.findings) do
    if one.peer and one.peer:find ":%d+$" then
      out.connections[one.peer] = one.count
    elseif one.path then
      out.files[one.path] = one.count
    elseif one.id == one.kind then
      out.kinds[one.kind] = one.count
    end
  end
  return out
end

local function start_gunicorn(env)
  local server = support.spawn { "/usr/bin/gunicorn", "--preload", "--workers", "3", "--bind", "127.0.0.1:" .. support.free_port(),
    "app:application", cwd = HERE, env = env }
  support.eventually("three workers", function()
    return #server:children() == 3 and select(2, server:output():gsub("Booting worker", "")) == 3, server:output()
  end)
  return server
end

local function start_uwsgi(env)
  local server = support.spawn { "uwsgi", "--plugin", "python3", "--http-socket", "127.0.0.1:" .. support.free_port(), "--master",
    "--processes", "3", "--die-on-term", "--module", "app", cwd = HERE, env = env }
  server:wait_for "spawned uWSGI worker 3 "
  return server
end

-- Workers that are forks of the master, and not another program.
local function start_worker_script()
  local directory = support.tmpdir()
  support.write(directory .. "/work.lua", "io.popen('sleep 600'):read()\n")
  support.write(directory .. "/app.ini", "[app:main]\nuse = egg:x\nforksafe.worker_script = %(here)s/work.lua\n")
  local server = support.spawn { support.paths.command, "prefork", "--workers", "3", directory .. "/app.ini" }
  support.eventually("three workers at work", function()
    return #support.descendants(server.pid) >= 6, server:output()
  end)
  return server
end

local function start_prefork()
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/postfork.lua", "return function() end\n")
  support.write(directory .. "/app.ini", "[app:main]\nuse = egg:x\nforksafe.scripts = %(here)s/hooks\n")
  local server = support.spawn { support.paths.command, "prefork", "--workers", "3", directory .. "/app.ini", "--", "/bin/sleep", "600" }
  support.eventually("three workers", function()
    local ready = 0
    for _, pid in ipairs(server:children()) do
      ready = ready + (support.command_line(pid):find "sleep" and 1 or 0)
    end
    return ready == 3, server:output()
  end)
  return server
end

describe("forksafe doctor", function()
  local kinds = {
    { "epoll", "shared-epoll", "high" }, { "eventfd", "shared-eventfd", "medium" }, { "timerfd", "shared-timerfd", "medium" },
    { "inotify", "shared-inotify", "medium" }, { "signalfd", "shared-signalfd", "low" },
    { "sqlite", "shared-database:DIR/state.db", "high" }, { "file", "shared-file:DIR/report.txt", "medium" },
    { "thread", "lost-thread:telemetry*", "medium" }, { "tcp", "shared-connection:127.0.0.1:PORT", "high" },
    { "tcp6", "shared-connection:[::1]:PORT6", "high" }, { "udp", "shared-connection:127.0.0.1:PORT/udp", "low" },
    { "unix", "shared-connection:PATH", "high" },
  }
  for _, row in ipairs(kinds) do
    it("finds " .. row[1] .. " and nothing else, by its id, severity and pids", function()
      local peer = start_peer()
      local server = start_unsafe(row[1], { peer = peer })
      local object = examine(server.pid)
      local id = row[2]:gsub("DIR", server.directory):gsub("PORT6", peer.port6):gsub("PORT", peer.port):gsub("PATH", peer.path)
      assert.same({ id }, ids(object))
      assert.equal(row[3], object.findings[1].severity)
      assert.equal(1, object.findings[1].count)
      local pids = row[1] == "thread" and sorted(server.workers) or everybody(server)
      assert.same(pids, sorted(object.findings[1].pids))
      assert.truthy(object.findings[1].fix:find "after_in_child=lambda: .+%)  # ")
    end)
  end

  it("finds a listening socket that was left open for another program, not one that was passed to it", function()
    local server = start_unsafe "leaked passed"
    local object = examine(server.pid)
    assert.equal(1, #object.findings)
    assert.equal("leaked-listener", object.findings[1].kind)
    local pid = object.findings[1].pids[1]
    assert.equal("/bin/sleep 600", support.command_line(pid))
    for number, target in pairs(support.fds(pid)) do
      assert.truthy(number <= 2 or target:find "^socket:" or target:find "^pipe:", target)
    end
  end)

  it("finds nothing in standard streams, pipes, socketpairs, listening and accepted sockets, logs, locks and billiard's shared heap", function()
    local server = start_unsafe("streams pairs inner listener accepted passed log lock heap", { peer = start_peer() })
    local object, code = examine(server.pid)
    assert.same({}, ids(object))
    assert.equal(0, code)
    assert.same({}, object.unreadable)
  end)

  it("finds both parts of an event loop that is shared, and nothing where the workers have closed its epoll set", function()
    assert.same({ "shared-epoll", "shared-eventfd" }, ids((examine(start_unsafe("loop").pid))))
    assert.same({}, ids((examine(start_unsafe("leftover").pid))))
  end)

  it("counts what an independent script counts over /proc", function()
    local server = start_unsafe("tcp tcp tcp6 epoll epoll eventfd timerfd timerfd inotify sqlite file log lock pairs listener", { peer = start_peer() })
    local independent = count(everybody(server))
    assert.same(independent, counted((examine(server.pid))))
    assert.equal(2, independent.kinds["shared-epoll"])
    local shared = 0
    for _, number in pairs(independent.connections) do
      shared = shared + number
    end
    assert.equal(3, shared)
  end)

  it("takes the master for a worker's pid, and says so", function()
    local server = start_unsafe "epoll"
    local object = examine(server.workers[2])
    assert.equal(server.pid, object.pid)
    assert.equal(server.workers[2], object.asked)
    assert.equal("forksafe.doctor/1", object.schema)
    assert.equal(4, #object.processes)
    assert.equal("python3", object.name)
    local text = doctor { server.workers[2] }
    assert.equal(1, text.code)
    assert.truthy(text.stdout:find(("process %d (python3), 3 forked processes (%d was asked for"):format(server.pid, server.workers[2]), 1, true),
      text.output)
    assert.truthy(text.stdout:find("\n1 finding: 1 high, 0 medium, 0 low\n", 1, true))
  end)

  it("does not take who started the server for its master, be it a shell or of the same name", function()
    for _, before in ipairs { { "/bin/sh", "-c", '"$0" "$@"; exit $?' },
      { PYTHON, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))" } } do
      local server = start_unsafe("epoll", { before = before })
      local master = support.info(server.workers[1]).ppid
      assert.equal(server.pid, support.info(master).ppid)
      assert.equal(master, examine(server.workers[1]).pid)
      assert.equal(server.pid, examine(server.pid).pid)
    end
  end)

  it("sees into another network namespace", function()
    local peer = start_peer "apart"
    local server = start_unsafe("tcp tcp6 unix pairs listener", { peer = peer, before = { "/usr/bin/nsenter", "-n", "-t", tostring(peer.pid) } })
    local object = examine(server.pid)
    assert.same(sorted { "shared-connection:127.0.0.1:" .. peer.port, "shared-connection:[::1]:" .. peer.port6,
      "shared-connection:" .. peer.path }, ids(object))
    assert.same({}, object.notes)
    assert.same(count(everybody(server)).connections, counted(object).connections)
  end)

  it("works as another user on that user's own processes, and exits with 4 on others'", function()
    local own = start_unsafe("epoll sqlite", { uid = 65534 })
    local result = doctor { "--json", own.pid, uid = 65534 }
    assert.equal(1, result.code, result.output)
    local object = cjson.decode(result.stdout)
    assert.same({ "shared-database:" .. own.directory .. "/state.db", "shared-epoll" }, ids(object))
    assert.same({}, object.unreadable)
    local other = start_unsafe "epoll"
    result = doctor { other.pid, uid = 65534 }
    assert.equal(4, result.code)
    assert.equal("", result.stdout)
    assert.truthy(result.stderr:find "^forksafe doctor: process %d+ and those below it are another user's: run it as root\n$", result.stderr)
  end)

  it("names the processes that it could not read", function()
    local server = support.spawn { PYTHON, "-c", [[
import os, time
pid = os.fork()
if pid == 0:
    time.sleep(600)
if os.fork() == 0:
    os.setresuid(65534, 65534, 65534)
    os.execv("/bin/sleep", ["sleep", "600"])
print("ready", pid, flush=True)
time.sleep(600)]] }
    server:wait_for "ready"
    local mine
    support.eventually("a sleep of the other user", function()
      for _, pid in ipairs(server:children()) do
        mine = support.command_line(pid) == "sleep 600" and pid or mine
      end
      return mine
    end)
    local result = doctor { "--json", server.pid, uid = 65534 }
    assert.equal(0, result.code, result.output)
    local object = cjson.decode(result.stdout)
    local unreadable = {}
    for _, pid in ipairs(everybody(server)) do
      table.insert(unreadable, pid ~= mine and pid or nil)
    end
    assert.same(unreadable, sorted(object.unreadable))
    local text = doctor { server.pid, uid = 65534 }
    assert.truthy(text.stdout:find "not read, as this user may not %(run it as root%): %d+ %d+\n", text.output)
  end)

  it("judges by descriptor numbers where kcmp is refused, and says so", function()
    local server = start_unsafe("epoll sqlite file tcp", { peer = start_peer() })
    local result = support.run { PYTHON, HERE .. "/without_kcmp.py", support.paths.command, "doctor", "--json", tostring(server.pid) }
    assert.equal(1, result.code, result.output)
    local object, usual = cjson.decode(result.stdout), examine(server.pid)
    assert.same(usual.findings, object.findings)
    assert.same({}, usual.notes)
    assert.equal(1, #object.notes)
    assert.truthy(object.notes[1]:find "^kcmp%(2%) is not permitted here")
  end)

  it("exits with 3 for no such process and with 2 for no pid", function()
    local gone = support.run { "/bin/sh", "-c", "echo $$" }.stdout:match "%d+"
    local result = doctor { gone }
    assert.equal(3, result.code)
    assert.equal("forksafe doctor: no process " .. gone .. " runs here\n", result.stderr)
    for _, arguments in ipairs { {}, { "x" }, { "0" }, { "-1" }, { "12x" }, { "1", "2" }, { "99999999999999999999" } } do
      assert.equal(2, doctor(arguments).code)
    end
  end)

  it("makes hostile names harmless", function()
    local server = start_unsafe "epoll name"
    local text = doctor { server.pid }
    assert.equal(1, text.code)
    assert.falsy(text.stdout:find "[%z\1-\9\11-\31]")
    assert.truthy(text.stdout:find("(\\x1b[31m) S 1 \\x0a\\x07), 3 forked", 1, true), text.output)
    assert.equal("\27[31m) S 1 \n\7", examine(server.pid).name)
  end)

  it("is in colour only on a terminal, and not with NO_COLOR", function()
    local server = start_unsafe "epoll"
    assert.falsy(doctor({ server.pid }).stdout:find "\27")
    assert.truthy(doctor({ server.pid, pty = true, env = { TERM = "xterm", NO_COLOR = false } }).output:find "\27%[1;31mhigh")
    assert.falsy(doctor({ server.pid, pty = true, env = { TERM = "xterm", NO_COLOR = "1" } }).output:find "\27")
  end)

  it("is one static file too, which needs no environment and finds the same", function()
    local server = start_unsafe("epoll sqlite file")
    local file = support.must_run { "/usr/bin/readelf", "-l", STATIC }
    assert.falsy(file:find "INTERP")
    local copy = support.tmpdir()
    support.must_run { "/bin/cp", STATIC, copy .. "/doctor" }
    local result = support.run { "/usr/bin/env", "-i", copy .. "/doctor", "--json", tostring(server.pid), cwd = "/" }
    assert.equal(1, result.code, result.output)
    assert.same(examine(server.pid).findings, cjson.decode(result.stdout).findings)
  end)
end)

describe("forksafe doctor on a plain server", function()
  for name, start in pairs { gunicorn = start_gunicorn, uWSGI = start_uwsgi, ["forksafe prefork"] = start_prefork,
    ["forksafe prefork with a worker_script"] = start_worker_script } do
    it("finds nothing in " .. name, function()
      local server = start()
      local object, code = examine(server.pid)
      assert.same({}, ids(object))
      assert.equal(0, code)
      assert.truthy(#object.processes >= 4)
      assert.same({}, object.notes)
      assert.same({}, object.unreadable)
    end)
  end

  for name, start in pairs { gunicorn = start_gunicorn, uWSGI = start_uwsgi } do
    it("finds the one connection that " .. name .. "'s application opened where it was imported", function()
      local peer = start_peer()
      local server = start { PEER_PORT = peer.port }
      local object = examine(server:children()[1])
      assert.equal(server.pid, object.pid)
      local id = "shared-connection:127.0.0.1:" .. peer.port
      assert.same({ id }, ids(object))
      local one = finding(object, id)
      assert.same(everybody(server), sorted(one.pids))
      assert.same({ connections = { ["127.0.0.1:" .. peer.port] = 1 }, kinds = {}, files = {} }, count(everybody(server)))
      assert.truthy(one.fix:find(name == "gunicorn" and "def post_fork(server, worker): " or "uwsgidecorators.postfork(lambda: ", 1, true))
    end)
  end
end)
