-- SPDX-License-Identifier: MIT
--
-- forksafe prefork, the container of our own, as a user runs it: real masters and workers, ended and reloaded by signals,
-- compared with what /proc says and with what was recorded.
local signal = require "posix.signal"
local prefork = require "containers.prefork_server"
local scenario = require "support.scenario"
local support = require "support"

describe("forksafe prefork", function()
  scenario.of {
    container = "prefork",
    hooks = {
      MasterReady = "master_ready", PreFork = "pre_fork", PostFork = "post_fork", PostWorkerInit = "post_worker_init",
      WorkerExit = "worker_exit", ChildExit = "child_exit", Reload = "reload", Shutdown = "shutdown",
    },
    start = function(hooks)
      return prefork.start { workers = 3, hooks = hooks }
    end,
    workers = function(server)
      return server:children()
    end,
  }

  it("records in each worker what it ran, in order: pids as the master's children in /proc", function()
    local server = prefork.start { workers = 3 }
    local object = prefork.assert_started(server)
    assert.equal("forksafe prefork", object.environment)
    assert.equal("forksafe prefork hook configured", object.status)
    assert.same({
      { "containers.prefork.master_ready", "ApplicationMasterReady" },
      { "containers.prefork.pre_fork", "ApplicationPreFork" },
      { "containers.prefork.post_fork", "ApplicationPostFork" },
      { "containers.prefork.post_worker_init", "ApplicationPostWorkerInit" },
    }, object.executed_hooks)
    local slots = {}
    for i, pid in ipairs(server:children()) do
      local process = prefork.process_of(object, pid)
      assert.equal("worker", process.role)
      assert.equal(server.pid, process.ppid)
      slots[i] = process.worker
    end
    assert.same({ 1, 2, 3 }, prefork.sorted(slots))
    for _, pid in ipairs(server:children()) do
      for _, target in pairs(support.fds(pid)) do
        assert.are_not.equal("anon_inode:[eventpoll]", target) -- the master's loop is the master's
      end
    end
    assert.equal("master", prefork.process_of(object, server.pid).role)
  end)

  it("tells a hook what it needs to know of its process", function()
    local server = prefork.start { workers = 2 }
    local forked = prefork.wait_said(server, "PostFork")
    assert.same(server:children(), prefork.pids_in(forked))
    for _, one in ipairs(forked) do
      assert.same({ "worker", true, 1 }, { one.role, one.forked, one.generation })
    end
    for slot, one in ipairs(prefork.said(server, "PreFork")) do
      assert.same({ server.pid, slot, "master", false }, { one.pid, one.worker, one.role, one.forked })
    end
  end)

  it("replaces a killed worker in the same slot, and its master tells how it ended", function()
    local server = prefork.start { workers = 3 }
    local before = prefork.by_worker(prefork.wait_said(server, "PostWorkerInit"))
    signal.kill(before[2], signal.SIGKILL)
    prefork.wait_said(server, "PostWorkerInit", 4)
    local after = prefork.by_worker(prefork.said(server, "PostWorkerInit"))
    assert.same({ before[1], before[3] }, { after[1], after[3] })
    assert.are_not.equal(before[2], after[2])
    assert.same(prefork.sorted(after), server:children())

    local ended = prefork.said(server, "ChildExit")
    assert.equal(1, #ended)
    assert.same({ server.pid, 2, before[2] .. "/nil/9" }, { ended[1].pid, ended[1].worker, ended[1].child })
    local gone = prefork.process_of(support.debug(server.pid), before[2])
    assert.same({ false, 9 }, { gone.alive, gone.exit_signal })
  end)

  it("reloads at HUP: the generation rises, the scripts are read again, new workers take the old ones' slots", function()
    local server = prefork.start { workers = 2 }
    local old = prefork.wait_said(server, "PostWorkerInit")
    support.write((server.ini:gsub("app.ini$", "hooks/postfork.lua")),
      [[return function(event) forksafe.log.info("second edition in %d", event.worker) end]])
    server:signal "HUP"
    prefork.wait_said(server, "PostWorkerInit", 4)
    prefork.wait_said(server, "ChildExit", 2)

    local reload = prefork.said(server, "Reload")
    assert.equal(1, #reload)
    assert.same({ server.pid, "master", 2 }, { reload[1].pid, reload[1].role, reload[1].generation })
    local new = { unpack(prefork.said(server, "PostWorkerInit"), 3) }
    assert.same(prefork.pids_in(new), server:children())
    assert.same({ 2, 2 }, { new[1].generation, new[2].generation })
    assert.same({ 1, 2 }, prefork.sorted { new[1].worker, new[2].worker })
    assert.same(prefork.pids_in(old), prefork.pids_in(prefork.said(server, "WorkerExit")))
    local _, editions = server:stderr():gsub("second edition in %d", "")
    assert.equal(2, editions)
    assert.equal(2, support.debug(server.pid).masters[1].generation)
  end)

  it("keeps the old workers when the new ones cannot live", function()
    local ini, directory = prefork.application()
    local server = prefork.start { ini = ini, workers = 2, command = { "sh", "-c", "test -e " .. directory .. "/broken && exit 7; exec sleep 60" } }
    local old = support.eventually("both run their command", function()
      local pids = server:children()
      for _, pid in ipairs(pids) do
        pids.running = (pids.running or 0) + (support.command_line(pid) == "sleep 60" and 1 or 0)
      end
      return pids.running == 2 and pids
    end)
    support.write(directory .. "/broken", "")
    server:signal "HUP"
    prefork.wait_said(server, "ChildExit", 2) -- two attempts at the first slot
    for _, ended in ipairs(prefork.said(server, "ChildExit")) do
      assert.same({ 1, "/7/nil" }, { ended.worker, ended.child:match "/.*" })
    end
    for _, pid in ipairs(old) do
      assert.is_true(support.alive(pid))
    end
    support.remove(directory .. "/broken")
    support.eventually("new ones have taken over", function()
      return not support.alive(old[1]) and not support.alive(old[2]) and #server:children() == 2
    end)
  end)

  it("stops at TERM: WorkerExit in each worker, Shutdown in the master, nothing left", function()
    local server = prefork.start { workers = 3 }
    prefork.wait_said(server, "PostWorkerInit")
    local workers = server:children()
    assert.equal(0, prefork.finish(server))
    assert.same(workers, prefork.pids_in(prefork.said(server, "WorkerExit")))
    assert.equal(3, prefork.count_said(server, "ChildExit"))
    assert.same({ server.pid }, prefork.pids_in(prefork.said(server, "Shutdown")))
    assert.same({}, support.orphans())

    local object = support.debug(server.ini, { previous = true })
    for _, pid in ipairs(workers) do
      assert.equal("PostFork PostWorkerInit WorkerExit", prefork.events_of(object, pid))
    end
    assert.matches("ChildExit Shutdown$", prefork.events_of(object, server.pid))
  end)

  it("kills what does not end within the graceful timeout", function()
    local server = prefork.start { workers = 1, arguments = { "--graceful-timeout=1" },
      command = { "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done" } }
    server:wait_for "deaf"
    assert.equal(0, prefork.finish(server))
    assert.matches("/nil/9", prefork.said(server, "ChildExit")[1].child, 1, true)
  end)

  it("stops quickly at INT", function()
    local server = prefork.start { workers = 2 }
    prefork.wait_said(server, "PostWorkerInit")
    assert.equal(0, prefork.finish(server, "INT"))
    assert.equal(2, prefork.count_said(server, "WorkerExit"))
    assert.equal(1, prefork.count_said(server, "Shutdown"))
  end)

  it("has a worker more at TTIN and one fewer, the highest slot, at TTOU", function()
    local server = prefork.start { workers = 1 }
    prefork.wait_said(server, "PostWorkerInit")
    server:signal "TTIN"
    assert.equal(2, prefork.wait_said(server, "PostWorkerInit", 2)[2].worker)
    server:signal "TTOU"
    assert.equal(2, prefork.wait_said(server, "ChildExit", 1)[1].worker)
    server:signal "TTOU" -- the last one stays
    server:signal "USR1" -- and this one is not used
    server:wait_for "USR1: not used"
    assert.equal(1, #server:children())
  end)

  it("ends its workers when it is killed", function()
    local server = prefork.start { workers = 2 }
    prefork.wait_said(server, "PostWorkerInit")
    server:signal "KILL"
    server:wait()
    prefork.wait_said(server, "WorkerExit")
    support.eventually("none is left", function()
      return #support.orphans() == 0
    end)
  end)
end)

describe("these tests", function()
  -- The command with adapters/prefork/ as in `source`: the build's own compiler and linker calls, with other files.
  local function build_variant(source)
    local build, original = support.paths.build, support.paths.root .. "/adapters/prefork/"
    local program = source .. "/forksafe"
    local commands = support.must_run { "ninja", "-C", build, "-t", "commands", "forksafe_command" }
    local link
    for line in commands:gmatch "[^\n]+" do
      local file = line:match(" %-c " .. original:gsub("%p", "%%%0") .. "([%w_]+)%.c")
      if file then
        local compile = line:gsub(" %-o %S+", " -o " .. source .. "/" .. file .. ".o"):gsub(" %-M%u+ %S+", ""):gsub(" %-MD", "")
          :gsub("%-c %S+", ("-I%s -c %s/%s.c"):format(source, source, file))
        support.must_run { "sh", "-c", compile, cwd = build }
      end
      link = line
    end
    link = link:gsub("%S+/adapters/prefork/([%w_]+)%.c%.o", source .. "/%1.o"):gsub("%-o %S+", "-o " .. program)
    support.must_run { "sh", "-c", link, cwd = build }
    return program
  end

  it("fail when the adapter's one PostFork line is taken out", function()
    local source, line = support.without_line(support.paths.root .. "/adapters/prefork", "fire%(birth, FORKSAFE_POST_FORK,")
    assert.matches("fire(birth, FORKSAFE_POST_FORK, false)", line, 1, true)
    local server = prefork.start { workers = 2, program = build_variant(source) }
    prefork.wait_said(server, "PostWorkerInit")
    local message = support.fails(function()
      prefork.assert_started(server)
    end)
    assert.matches("Expected objects to be the same.*{ }", message)
  end)
end)
