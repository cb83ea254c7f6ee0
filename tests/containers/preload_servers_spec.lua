-- SPDX-License-Identifier: MIT
--
-- `forksafe run` with programs that know nothing of forksafe: PHP-FPM, PostgreSQL, and Python's multiprocessing. What was recorded is
-- compared with the pids that answer, with those the servers say themselves, and with /proc.
local pwd = require "posix.pwd"
local servers = require "support.server"
local signal = require "posix.signal"
local support = require "support"
local unistd = require "posix.unistd"
local fpm = require "support.fpm"

local said, pids_in = servers.said, servers.pids_in

describe("PHP-FPM", function()
  it("runs PostFork in its three workers, and tells how they end", function()
    local server = fpm.start {}
    local workers = fpm.workers(server)
    assert.same(workers, server:children())
    assert.same(workers, pids_in(said(server, "PostFork")))
    assert.equal(3, #said(server, "PreFork"))
    signal.kill(workers[2], signal.SIGSEGV)
    local ended = servers.wait_said(server, "ChildExit", 1)[1]
    assert.same({ server.pid, workers[2] .. "/nil/11" }, { ended.pid, ended.child })
    assert.equal(ended.worker, servers.wait_said(server, "PostFork", 4)[4].worker)
    assert.equal(0, servers.finish(server, "QUIT"))
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
  end)

  it("is the daemon that it becomes, and again after a reload", function()
    local server = fpm.start { daemonize = "yes" }
    assert.same({ "exited", 0 }, { server:wait(15) })
    local function assert_daemon(before)
      local pid = support.eventually("the daemon", function()
        local one = tonumber(support.read(server.directory .. "/fpm.pid") or "")
        return one and one ~= before and support.alive(one) and support.info(one).ppid == unistd.getpid() and one
      end)
      local workers = fpm.workers(server)
      assert.same(workers, support.children(pid))
      local object = support.debug(pid)
      assert.same(workers, support.pids_of(object, "ApplicationPostFork"))
      assert.same({ pid }, support.pids_of(object, "ApplicationPreFork"))
      assert.equal(1, #support.records_of(object, "ApplicationMasterReady"))
      return pid
    end
    local first = assert_daemon()
    local daemon = support.adopt(first, "QUIT")
    daemon:signal "USR2"
    assert.same({ "exited", 0 }, { daemon:wait(15) })
    assert.is_true(support.adopt(assert_daemon(first), "QUIT"):stop())
  end)
end)

describe("PostgreSQL", function()
  local BIN = "/usr/lib/postgresql/15/bin/"
  local postgres = pwd.getpwnam "postgres"
  local data

  lazy_setup(function()
    data = support.tmpdir()
    support.give(data, postgres.pw_uid, postgres.pw_gid)
    support.must_run { BIN .. "initdb", "-D", data .. "/db", "-A", "trust", "-N", uid = postgres.pw_uid, gid = postgres.pw_gid, timeout = 60 }
    support.write(data .. "/db/postgresql.conf", ("listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\n"):format(data))
  end)

  local function forksafe_run(directory, ...)
    return { support.paths.command, "run", directory .. "/production.ini", "--", uid = postgres.pw_uid, gid = postgres.pw_gid,
      cwd = data, stop_signal = "INT", env = { RUNTIME_DIRECTORY = data }, ... }
  end

  local function application()
    local directory = servers.application()
    support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n")
    return directory
  end

  local function backend()
    return tonumber(support.must_run { "/usr/bin/psql", "-h", data, "-U", "postgres", "-Atc", "select pg_backend_pid()", "postgres" })
  end

  -- Connections become processes of their own, one each, and their ends are told.
  local function assert_backends(server, master)
    support.eventually("connections", function()
      return support.run({ BIN .. "pg_isready", "-q", "-h", data }).code == 0, servers.log(server)
    end, 20)
    servers.wait_said(server, "PostFork", 6)
    local before = #said(server, "PostFork")
    for _ = 1, 3 do
      local pid = backend()
      support.eventually("the end of backend " .. pid, function()
        for _, one in ipairs(said(server, "ChildExit")) do
          if one.child == pid .. "/0/nil" and one.pid == master then
            return true
          end
        end
        return nil, servers.log(server)
      end)
      assert.is_true(servers.has(pids_in(said(server, "PostFork")), pid))
      assert.is_true(servers.has(pids_in(said(server, "WorkerExit")), pid))
    end
    assert.equal(before + 3, #said(server, "PostFork"))
    assert.equal(#said(server, "PreFork"), #said(server, "PostFork"))
    for _, pid in ipairs(support.children(master)) do
      assert.is_true(servers.has(pids_in(said(server, "PostFork")), pid))
    end
    assert.same({ master }, pids_in(said(server, "MasterReady")))
  end

  it("runs PostFork in every backend, and in every process that the postmaster forks", function()
    local directory = application()
    local server = support.spawn(forksafe_run(directory, BIN .. "postgres", "-D", data .. "/db"))
    assert_backends(server, server.pid)
    assert.equal(0, servers.finish(server, "INT"))
    assert.same({ server.pid }, pids_in(said(server, "Shutdown")))
  end)

  it("does so where pg_ctl starts it", function()
    local directory = application()
    local log = data .. "/log"
    local result = support.run(forksafe_run(directory, BIN .. "pg_ctl", "-s", "-w", "-D", data .. "/db", "-l", log, "start"))
    assert.equal(0, result.code, result.output)
    local master = tonumber(support.read(data .. "/db/postmaster.pid"):match "^%d+")
    local daemon = support.adopt(master, "INT")
    assert_backends({ log = log }, master)
    assert.is_true(daemon:stop())
  end)
end)

describe("Python's multiprocessing", function()
  local function run(what, ended)
    local directory = servers.application()
    local ini = support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n")
    local server = support.spawn { support.paths.command, "run", ini, "--", "/usr/bin/python3", support.paths.data .. "/preload/pool.py", what }
    assert.same({ "exited", 0 }, { server:wait(20) }, server:output())
    server.ini = ini
    ended(server)
    local workers = {}
    for pid in server:output():gmatch "%f[%w]worker (%d+)\n" do
      table.insert(workers, tonumber(pid))
    end
    return server, servers.sorted(workers)
  end

  for _, row in ipairs { { what = "pool", count = 3 }, { what = "process", count = 1 }, { what = "daemon", count = 3 } } do
    it("has a worker for each process of a " .. row.what .. ", and none for a subprocess", function()
      local server, workers = run(row.what, function(server)
        if row.what == "daemon" then
          local pid = support.eventually("the daemon", function()
            local one = tonumber(server:output():match "daemon (%d+)\n")
            return one and support.info(one).ppid == unistd.getpid() and one, server:output()
          end)
          support.adopt(pid):wait(15)
        end
      end)
      assert.equal(row.count, #workers, server:output())
      assert.same(workers, pids_in(said(server, "PostFork")), server:output())
      assert.equal(row.count, #said(server, "PreFork"))
      assert.equal(row.count, #said(server, "ChildExit"), server:output())
      assert.equal(1, #said(server, "MasterReady"))
    end)
  end
end)
