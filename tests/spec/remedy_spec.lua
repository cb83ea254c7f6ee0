-- SPDX-License-Identifier: MIT
--
-- event.process:quarantine{} and unshare{}: what a worker has afterwards, and that the master has lost nothing. Real masters and
-- workers (forksafe prefork, gunicorn), a real server at the other end.
local prefork = require "containers.prefork_server"
local signal = require "posix.signal"
local support = require "support"

local DATA = support.paths.data .. "/audit"
local PYTHON = "/usr/bin/python3"

local function start_echo()
  return support.spawn({ PYTHON, DATA .. "/echo.py" }):wait_for "echo (%d+)\n"
end

-- A prefork of one worker whose hooks share what `master` (at file level) makes: `worker` runs in PostFork, `later` in the master when
-- the worker is gone. Each returns a text, which is in the log as "worker: ..." and "later: ...".
local function start(t)
  local hook = ([[
local sys = require "sys"
local port = tonumber(forksafe.env "PORT")
MASTER
forksafe.subscribe("ApplicationPreFork", function(event) local text = (function() BEFORE end)(); print("before: " .. tostring(text)) end)
forksafe.subscribe("ApplicationPostFork", function(event) local text = (function() WORKER end)(); print("worker: " .. tostring(text)) end)
forksafe.subscribe("ApplicationChildExit", function(event) local text = (function() LATER end)(); print("later: " .. tostring(text)) end)
]]):gsub("%u%u%u+", { MASTER = t.master, WORKER = t.worker, LATER = t.later or "", BEFORE = t.before or "" })
  local ini = prefork.application({ ["shared.lua"] = hook, ["sys.lua"] = support.read(DATA .. "/sys.lua") }, { "lua_libs = full" })
  local argv = { support.paths.command, "prefork", "--workers=1", ini, env = { PORT = t.port or start_echo() } }
  for i, word in ipairs(t.before_argv or {}) do
    table.insert(argv, i, word)
  end
  local server = support.spawn(argv)
  server.ini = ini
  return server
end

-- What a hook said.
local function said(server, who)
  return server:wait_for(who .. ": ([^\n]*)\n")
end

-- What `later` says once the first worker was killed.
local function later(server)
  signal.kill(server:children()[1], signal.SIGKILL)
  return said(server, "later")
end

describe("quarantine", function()
  it("gives the worker a clean end of the connection, under the same number and flags; the master's own still answers", function()
    local server = start {
      master = "local fd, other = sys.connect(port), sys.connect(port)\nsys.set_flags(other)",
      worker = [[local count = event.process:quarantine { peer = ":" .. port }
        return count .. " " .. sys.ping(fd) .. ", " .. sys.flags(fd) .. ", " .. sys.peek(other) .. " " .. sys.flags(other)]],
      later = "return sys.ping(fd)",
    }
    assert.equal("2 error 32, - -, end cloexec nonblock", said(server, "worker")) -- EPIPE
    assert.equal("ping", later(server))
    local finding = support.eventually("the second worker's repair", function()
      local one = support.debug(server.ini).findings[1]
      return one.repaired_in == 2 and one
    end)
    assert.same({ "repaired", 2, 4, 2 }, { finding.state, finding.count, finding.repairs, finding.shared_by })
  end)

  it("leaves the worker a wrong answer without it: the test sees the difference", function()
    local server = start { master = "local fd = sys.connect(port)", worker = "return sys.ping(fd)" }
    assert.equal("ping", said(server, "worker"))
    assert.equal("open", support.debug(server.ini).findings[1].state)
  end)

  it("leaves a connection alone that was opened since the fork under the same number", function()
    local server = start {
      master = "local fd, other = sys.connect(port), sys.connect(port)",
      worker = [[sys.C.close(fd)
        local again = sys.connect(port)
        local count = event.process:quarantine { peer = ":" .. port } + event.process:quarantine { all = true }
        return tostring(again == fd) .. " " .. count .. " " .. sys.ping(again) .. " " .. sys.peek(other)]],
    }
    assert.equal("true 1 ping end", said(server, "worker"))
  end)

  it("takes only the peers that fit, and of all leaves those that are marked safe", function()
    local second = start_echo()
    local server = start {
      master = "local second = " .. second .. "\n" .. [[
local fd, other = sys.connect(port), sys.connect(second)
forksafe.mark_safe { peer = ":" .. second }]],
      worker = [[local counts = { event.process:quarantine { peer = "10.*" }, event.process:quarantine { peer = ":1" },
          event.process:quarantine { all = true }, event.process:quarantine { all = true } }
        local before = sys.ping(other)
        table.insert(counts, event.process:quarantine { peer = "127.0.0.1:" .. second })
        return table.concat(counts, " ") .. " " .. before .. " " .. sys.ping(other)]],
    }
    assert.equal("0 0 1 0 1 ping error 32", said(server, "worker"))
    assert.equal(1, #support.debug(server.ini).findings)
  end)

  it("touches no standard stream, also where they are sockets, as under systemd", function()
    local path = support.tmpdir() .. "/streams.py"
    support.write(path, [[
import os, socket, sys
own = os.dup(1)
stream = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
os.dup2(stream.fileno(), 0)
os.dup2(stream.fileno(), 1)
os.set_inheritable(own, True)
os.dup2(own, 2)
os.execv(sys.argv[1], sys.argv[1:])
]])
    local server = start {
      before_argv = { PYTHON, path },
      master = "local copy = 77\nsys.C.dup2(0, copy)",
      worker = "local count = event.process:quarantine { all = true } return count .. ' ' .. sys.ping(0) .. ' ' .. sys.ping(copy)",
    }
    assert.equal("0 ping ping", said(server, "worker"))
    assert.same({}, support.debug(server.ini).findings)
  end)

  it("ends a connection for the worker's own epoll set, and not for the master's", function()
    local server = start {
      master = [[local fd, loop = sys.connect(port), sys.C.epoll_create1(sys.CLOEXEC)
sys.epoll_add(loop, fd)]],
      worker = [[local copied = event.process:unshare { "epoll" }
        local own = sys.C.epoll_create1(sys.CLOEXEC)
        sys.epoll_add(own, fd)
        local before = sys.ready(loop) .. sys.ready(own)
        local count = event.process:quarantine { all = true }
        local shared, alone = (sys.ready(loop):gsub(fd .. ":", "")), (sys.ready(own):gsub(fd .. ":", ""))
        return ("%d '%s' %d %s %s"):format(copied, before, count, shared, alone)]],
      later = [[sys.C.send(fd, "pong", 4, 0)
        for _ = 1, 1000000 do if sys.ready(loop) ~= "" then break end end
        return (sys.ready(loop):gsub(fd .. ":", ""))]],
    }
    assert.equal("1 '' 1 17 17", said(server, "worker")) -- EPOLLIN and EPOLLHUP
    assert.equal("1", later(server))
  end)

  it("leaves a shared epoll set as it is", function()
    local server = start {
      master = [[local fd, loop = sys.connect(port), sys.C.epoll_create1(sys.CLOEXEC)
sys.epoll_add(loop, fd)]],
      worker = "return event.process:quarantine { all = true }",
      later = [[sys.C.send(fd, "pong", 4, 0)
        for _ = 1, 1000000 do if sys.ready(loop) ~= "" then break end end
        return (sys.ready(loop):gsub(fd .. ":", ""))]],
    }
    assert.equal("1", said(server, "worker"))
    assert.equal("1", later(server))
  end)

  it("is refused in the master, and says how it is called", function()
    local server = start {
      master = "",
      before = "local ok, why = pcall(event.process.quarantine, event.process, { all = true }) return why",
      worker = [[local list = {}
        for _, wrong in ipairs { {}, { peer = "x", all = true }, { all = false }, { port = 1, all = true }, { peer = "" } } do
          list[#list + 1] = tostring(pcall(event.process.quarantine, event.process, wrong))
        end
        return table.concat(list, " ") .. " " .. tostring(pcall(event.process.unshare, event.process, { "inotify" }))]],
    }
    assert.matches("shared%.lua:4: quarantine: works in a forked worker alone", said(server, "before"))
    assert.equal(("false "):rep(6), said(server, "worker") .. " ")
  end)
end)

describe("unshare", function()
  it("gives the worker its own eventfd, timer and epoll set, as they were, and the master keeps its own", function()
    local server = start {
      master = [[local event_fd, timer = sys.C.eventfd(3, sys.CLOEXEC + sys.NONBLOCK), sys.timer(1000)
local loop = sys.C.epoll_create1(sys.CLOEXEC)
local outer = sys.C.epoll_create1(0)
sys.epoll_add(loop, event_fd)
sys.epoll_add(loop, timer)
sys.epoll_add(outer, loop)]],
      worker = [[local count = event.process:unshare { "epoll", "eventfd", "timerfd", "epoll" }
        local left = sys.timer_left(timer)
        local before = sys.ready(loop) == event_fd .. ":1" and sys.ready(outer) == loop .. ":1"
        local taken = sys.take(event_fd)
        sys.set_timer(timer, 5)
        return ("%d %s %d %s %s/%s"):format(count, before, taken, left > 900 and left <= 1000, sys.ready(loop), sys.ready(outer))
          .. " " .. sys.flags(event_fd) .. ", " .. sys.flags(outer)]],
      later = "return sys.ready(loop):gsub('^.*:', '') .. ' ' .. sys.take(event_fd) .. ' ' .. tostring(sys.timer_left(timer) > 900)",
    }
    assert.equal("4 true 3 true / cloexec nonblock, - -", said(server, "worker"))
    assert.equal("1 3 true", later(server))
    for _, finding in ipairs(support.debug(server.ini).findings) do
      assert.equal("repaired", finding.state, finding.id)
    end
  end)

  it("leaves alone what is not asked for", function()
    local server = start {
      master = "local event_fd = sys.C.eventfd(3, sys.CLOEXEC + sys.NONBLOCK)",
      worker = "return event.process:unshare { 'epoll', 'timerfd', 'socketpair' } .. ' ' .. sys.take(event_fd)",
      later = "return sys.take(event_fd)",
    }
    assert.equal("0 3", said(server, "worker"))
    assert.equal("nil", later(server))
  end)

  it("makes a module's asyncio loop each worker's own, its socketpair with it", function()
    local directory = support.tmpdir()
    support.write(directory .. "/app.py", [[
import asyncio, os

loop = asyncio.new_event_loop()
own = [os.fstat(one.fileno()).st_ino for one in (loop._ssock, loop._csock)]

def application(environ, start_response):
    now = [os.fstat(one.fileno()).st_ino for one in (loop._ssock, loop._csock)]
    value = loop.run_until_complete(asyncio.wait_for(loop.run_in_executor(None, os.getpid), 5))
    start_response("200 OK", [])
    return [("%s %s" % (len(set(own) & set(now)), value == os.getpid())).encode()]
]])
    support.write(directory .. "/hooks/postfork.lua", [[return function(event)
  print("unshared " .. event.process:unshare { "epoll", "socketpair" })
end]])
    support.write(directory .. "/production.ini", "[app:main]\nuse = egg:x\nforksafe.scripts = %(here)s/hooks\n")
    support.write(directory .. "/config.py", "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n")
    local port = support.free_port()
    local server = support.spawn { "/usr/bin/gunicorn", "--config", "config.py", "--preload", "--workers", "2",
      "--bind", "127.0.0.1:" .. port, "app", cwd = directory,
      env = { PYTHONPATH = support.paths.python, FORKSAFE_INI = directory .. "/production.ini" } }
    assert.equal("0 True", support.http_wait(port, "/", 15))
    support.eventually("both workers", function()
      return select(2, server:output():gsub("unshared 3\n", "")) == 2
    end)
    local findings = support.debug(directory .. "/production.ini").findings
    assert.same({ "shared-epoll", "repaired" }, { findings[1].id, findings[1].state })
  end)
end)
