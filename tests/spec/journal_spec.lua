-- SPDX-License-Identifier: MIT
--
-- The journal's writing and reading side, through its C functions: this process is the master, its children are real forks, and what they
-- wrote is read back from the file.
local journal = require "support.journal"
local support = require "support"
local cjson = require "cjson"
local lfs = require "lfs"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"

local WORKER = { role = journal.WORKER, worker = 1, forked = 1 }
local none = journal.NO_SUBSCRIBER

local function pids(list)
  local result = {}
  for _, item in ipairs(list) do
    table.insert(result, item.pid)
  end
  table.sort(result)
  return result
end

local function sorted(list)
  table.sort(list)
  return list
end

-- A journal with one hook and one subscriber.
local function open(keys, options)
  local j, line, code = journal.open(keys, options)
  j:hook "containers.test.post_fork"
  return j, j:subscriber "postfork", line, code
end

describe("the slots of a journal", function()
  it("go one to each of the children that claim at the same time", function()
    local j, s = open()
    local children = {}
    for i = 1, 12 do
      children[i] = journal.child(function()
        j:run(s, { role = journal.WORKER, worker = i, forked = 1 })
      end)
    end
    for _, pid in ipairs(children) do
      assert.equal("exited", (journal.reap(pid)))
    end
    local object = j:read()
    assert.same(sorted(children), pids(object.processes))
    assert.same(sorted(children), pids(object.records))
    assert.equal(12, object.masters[1].forks.worker)
    assert.equal(12, object.subscribers[1].outcomes.ok)
    assert.equal(0, object.masters[1].slots_refused)
  end)

  it("say who a process is, and what it does", function()
    local j, s = open()
    local pid = journal.stay(function()
      j:claim { role = journal.WORKER, worker = 7, forked = 1 }
      j:run(s, { role = journal.WORKER, worker = 7, forked = 1 })
      j:claim { role = journal.WORKER, worker = 7, forked = 1, app_loaded = 1 }
    end)
    local p = j:read().processes[1]
    assert.same({ pid, unistd.getpid(), "worker", 7, "starting" }, { p.pid, p.ppid, p.role, p.worker, p.state })
    assert.same({ true, true, true, 1, 0, 1 }, { p.alive, p.forked, p.app_loaded, p.runs, p.failed, p.records })
    assert.truthy(p.since:match "^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", p.since)
    assert.equal(support.null, p.ended)
  end)

  it("of a master keep no worker number, whichever worker its events are about", function()
    local j = open()
    j:claim { role = journal.MASTER, worker = 3 }
    j:claim { role = journal.MASTER, worker = 4 }
    local p = j:read().processes[1]
    assert.same({ "master", support.null, false }, { p.role, p.worker, p.forked })
    assert.equal(0, j:read().masters[1].forks.master)
  end)

  it("go to a worker that is the original process as well", function()
    local j, s = open()
    j:run(s, { role = journal.SINGLE, worker = 1 })
    local object = j:read()
    assert.same({ "single", 1, false, unistd.getpid() }, {
      object.processes[1].role, object.processes[1].worker, object.processes[1].forked, object.processes[1].pid,
    })
    assert.equal(0, object.masters[1].forks.single)
  end)

  it("go to the child of a child, and what it records is its own", function()
    local j, s = open()
    local grandchild
    local reading, writing = unistd.pipe()
    local child = journal.done(function()
      j:run(s, WORKER)
      grandchild = journal.done(function()
        j:run(s, { role = journal.WORKER, worker = 2, forked = 1 })
      end)
      j:run(s, WORKER)
      unistd.write(writing, tostring(grandchild))
    end)
    grandchild = tonumber(unistd.read(reading, 20))
    unistd.close(reading)
    unistd.close(writing)
    local object = j:read()
    assert.same(sorted { child, grandchild }, pids(object.processes))
    assert.equal(child, journal.find(object.processes, "pid", grandchild).ppid)
    assert.same(sorted { child, child, grandchild }, pids(object.records))
    assert.equal(3, object.subscribers[1].outcomes.ok)
  end)

  it("that are all taken cost a process its records, never its counters", function()
    local j, s = open { max_workers = 2 }
    j:claim { role = journal.MASTER }
    local first = journal.stay(function()
      j:run(s, WORKER)
    end)
    local second = journal.done(function()
      j:run(s, WORKER)
      j:run(s, WORKER)
    end)
    local object = j:read()
    assert.equal(1, object.masters[1].slots_refused)
    assert.equal(2, object.masters[1].forks.worker)
    assert.equal(3, object.subscribers[1].outcomes.ok)
    assert.same({ first }, pids(object.records))
    assert.is_nil(journal.find(object.processes, "pid", second))
  end)

  it("of the dead are claimed again, though nobody told the journal of their end", function()
    local j, s = open { max_workers = 2, records = 64 }
    j:claim { role = journal.MASTER }
    for _ = 1, 20 do
      journal.done(function()
        j:run(s, WORKER)
      end)
    end
    local object = j:read()
    assert.equal(0, object.masters[1].slots_refused)
    assert.equal(20, #object.records)
    assert.equal(2, #object.processes)
  end)

  it("are used in turn, so that the longest dead are forgotten first", function()
    local j, s = open { max_workers = 4 }
    local children = {}
    for i = 1, 6 do
      j:sweep()
      children[i] = journal.done(function()
        j:run(s, WORKER)
      end)
      j:child_exit(children[i], 0)
    end
    assert.same(sorted { unpack(children, 3) }, pids(j:read().processes))
  end)

  it("tell two processes with one pid apart", function()
    local j, s = open()
    local first, second
    for _ = 1, 20 do -- another process may be faster and take the pid
      first = journal.done(function()
        j:run(s, WORKER)
      end)
      support.sleep(0.05) -- a start in the same clock tick as the first one's claim could be the first one's
      second = journal.stay(function()
        j:run(s, WORKER)
      end, first)
      if second then
        break
      end
      j:child_exit(first, 0)
    end
    assert.equal(first, second)
    local function both()
      local found = {}
      for _, process in ipairs(j:read().processes) do
        if process.pid == first then
          table.insert(found, process)
        end
      end
      return found
    end
    local processes = both()
    assert.same({ 2, false, true }, { #processes, processes[1].alive, processes[2].alive })
    journal.kill(second)
    j:child_exit(first, 3)
    processes = both()
    assert.same({ "dead", "exited", 3 }, { processes[1].state, processes[2].state, processes[2].exit_status })
  end)

  it("keep how a child ended", function()
    local j, s = open()
    local function ended(status, signal_number)
      local pid = journal.done(function()
        j:run(s, WORKER)
      end)
      j:child_exit(pid, status, signal_number)
      return journal.find(j:read().processes, "pid", pid)
    end
    local clean, failed, killed = ended(0), ended(3), ended(-1, 9)
    assert.same({ "exited", 0, support.null }, { clean.state, clean.exit_status, clean.exit_signal })
    assert.same({ "exited", 3, support.null }, { failed.state, failed.exit_status, failed.exit_signal })
    assert.same({ "exited", support.null, 9 }, { killed.state, killed.exit_status, killed.exit_signal })
    assert.is_string(killed.ended)
    assert.same({ clean = 1, failed = 1, signal = 1 }, j:read().masters[1].exits)
  end)

  it("are swept: who died unseen is gone, and told so when it is reaped later", function()
    local j, s = open()
    local pid = journal.done(function()
      j:run(s, WORKER)
    end)
    local alive = journal.stay(function()
      j:run(s, WORKER)
    end)
    assert.equal("dead", journal.find(j:read().processes, "pid", pid).state)
    j:sweep()
    local processes = j:read().processes
    assert.same({ "gone", "starting" }, { journal.find(processes, "pid", pid).state, journal.find(processes, "pid", alive).state })
    j:child_exit(pid, 0)
    assert.equal("exited", journal.find(j:read().processes, "pid", pid).state)
  end)
end)

describe("the records of a journal", function()
  it("of a process killed in the middle of a run are begun and not ended", function()
    local j, s = open()
    local pid = journal.stay(function()
      j:run(s, WORKER)
      j:begin(s, WORKER)
    end)
    local object = j:read()
    assert.same({ "ok", "running" }, { object.records[1].outcome, object.records[2].outcome })
    assert.equal(1, object.subscribers[1].unfinished)
    signal.kill(pid, signal.SIGKILL)
    support.eventually("a dead process in the journal", function()
      return journal.find(j:read().processes, "pid", pid).state == "dead"
    end)
    local function check()
      object = j:read()
      assert.same({ "unfinished", support.null }, { object.records[2].outcome, object.records[2].duration })
      assert.same({ 2, 1, 1 }, { object.subscribers[1].begun, object.subscribers[1].outcomes.ok, object.subscribers[1].unfinished })
    end
    check()
    journal.reap(pid)
    check()
    j:child_exit(pid, -1, 9)
    check()
  end)

  it("say when, who, what and how long", function()
    local j, s = open()
    local pid = journal.done(function()
      local run = j:begin(s, { role = journal.WORKER, worker = 5, forked = 1, app_loaded = 1 })
      support.sleep(0.02)
      j:finish(run, journal.ERROR)
    end)
    local r = j:read().records[1]
    assert.truthy(r.at:match "^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ$", r.at)
    assert.equal(os.date "!%Y-%m-%dT%H", r.at:sub(1, 13))
    assert.same({ pid, 5, "worker", 1, "containers.test.post_fork", "ApplicationPostFork", "postfork", "error", true, true, support.null }, {
      r.pid, r.worker, r.role, r.generation, r.hook, r.event, r.subscriber, r.outcome, r.forked, r.app_loaded, r.child,
    })
    assert.truthy(r.duration >= 0.02 and r.duration < 2, r.duration)
    assert.equal(1, j:read().processes[1].failed)
    assert.equal(r.duration, j:read().processes[1].slowest)
  end)

  it("that a full ring overwrote are counted, and the newest are there", function()
    local j = open { records = 4 }
    local subscribers = {}
    for i = 1, 10 do
      subscribers[i] = j:subscriber("s" .. i)
    end
    journal.done(function()
      for i = 1, 10 do
        j:run(subscribers[i], WORKER)
      end
    end)
    local object = j:read()
    assert.equal(6, object.masters[1].records_overwritten)
    local names = {}
    for i, record in ipairs(object.records) do
      names[i] = record.subscriber
    end
    assert.same({ "s7", "s8", "s9", "s10" }, names)
  end)

  it("are oldest first, those of all processes together", function()
    local j, s = open()
    local order = {}
    for i = 1, 6, 2 do
      j:run(s, { role = journal.MASTER })
      order[i] = unistd.getpid()
      order[i + 1] = journal.done(function()
        j:run(s, WORKER)
      end)
    end
    local seen = {}
    for i, record in ipairs(j:read().records) do
      seen[i] = record.pid
    end
    assert.same(order, seen)
  end)

  it("of runs within a run end each for itself, also when they went round the ring", function()
    local j, s = open { records = 4 }
    journal.done(function()
      local outer = j:begin(s, WORKER)
      j:run(none, WORKER, journal.QUEUED)
      j:finish(outer)
      outer = j:begin(s, WORKER)
      for _ = 1, 4 do
        j:run(none, WORKER, journal.QUEUED)
      end
      j:finish(outer)
    end)
    local object = j:read()
    assert.equal(2, object.subscribers[1].outcomes.ok)
    for _, record in ipairs(object.records) do
      assert.same({ support.null, "queued" }, { record.subscriber, record.outcome })
    end
    assert.equal(4, #object.records)
  end)

  it("that a fork inside a run inherited are ended by the parent only", function()
    local j, s = open()
    journal.done(function()
      local outer = j:begin(s, WORKER)
      journal.done(function()
        j:finish(outer, journal.ERROR)
      end)
      j:finish(outer)
    end)
    local object = j:read()
    assert.same({ 1, 0 }, { object.subscribers[1].outcomes.ok, object.subscribers[1].outcomes.error })
    assert.equal("ok", object.records[1].outcome)
  end)

  it("half written by a killed process are not believed, and counted as torn", function()
    local j, s = open { max_workers = 1, records = 8 }
    journal.done(function()
      j:run(s, WORKER)
      j:run(s, WORKER)
    end)
    local path = j:path()
    local text = support.read(path)
    local ffi = require "ffi"
    local slot = tonumber(ffi.cast("const uint64_t *", ffi.cast("const char *", text) + 184)[0]) -- slots_offset
    local file = assert(io.open(path, "r+b"))
    file:seek("set", slot + 104 + 64) -- the second record's sequence
    file:write(string.char(3))
    file:close()
    local object = j:read()
    assert.equal(1, #object.records)
    assert.same({ 1, 0 }, { object.masters[1].records_torn, object.masters[1].records_overwritten })
  end)
end)

describe("the counters of a journal", function()
  it("are exact over 2000 forks, a third of them killed somewhere", function()
    local ffi = require "ffi"
    ffi.cdef [[ void *mmap(void *, size_t, int, int, int, long); ]]
    local FORKS, RUNS = 2000, 3
    -- What the children did themselves, counted before and after in a map that they share with us.
    local counts = ffi.cast("uint32_t *", ffi.C.mmap(nil, 8 * FORKS, 3, 0x21, -1, 0))
    local j, s = open { max_workers = 64, records = 8 }
    local killed = 0
    for i = 0, FORKS - 1 do
      j:sweep()
      local pid = journal.child(function()
        for _ = 1, RUNS do
          counts[2 * i] = counts[2 * i] + 1
          j:run(s, WORKER)
          counts[2 * i + 1] = counts[2 * i + 1] + 1
        end
      end)
      if i % 3 == 0 then
        for _ = 1, math.random(0, 400) do
          unistd.getpid()
        end
        signal.kill(pid, signal.SIGKILL)
      end
      local how, code = journal.reap(pid)
      killed = killed + (how == "killed" and 1 or 0)
      j:child_exit(pid, how == "killed" and -1 or code, how == "killed" and code or 0)
    end
    local asked, done = 0, 0
    for i = 0, FORKS - 1 do
      asked, done = asked + counts[2 * i], done + counts[2 * i + 1]
    end
    local object = j:read()
    local subscriber, master = object.subscribers[1], object.masters[1]
    assert.truthy(killed > 0 and killed <= FORKS / 3 + 1)
    assert.same({ clean = FORKS - killed, failed = 0, signal = killed }, master.exits)
    assert.truthy(subscriber.begun <= asked and subscriber.begun >= done)
    assert.truthy(subscriber.outcomes.ok <= subscriber.begun and subscriber.outcomes.ok >= done)
    assert.truthy(asked - done <= killed)
    assert.equal(0, master.slots_refused)
    -- Every run that begun has a record, or is one of those overwritten, torn, or cut off before its record was.
    local accounted = #object.records + master.records_overwritten + master.records_torn
    assert.truthy(accounted <= subscriber.begun and accounted >= done, accounted)
    local in_buckets = 0
    for _, bucket in ipairs(subscriber.buckets) do
      in_buckets = in_buckets + bucket[2]
    end
    assert.truthy(in_buckets <= subscriber.outcomes.ok and in_buckets >= done)
  end)

  it("of hooks count firings, and executed_hooks has each once in the order of its first time", function()
    local j = open()
    local second, third = j:hook("b.hook", 3), j:hook("a.hook", 3)
    for _, hook in ipairs { third, second, third, 0 } do
      journal.done(function()
        journal.C.fks_journal_fire(j.handle, hook)
      end)
    end
    local object = j:read()
    assert.same({
      { "a.hook", "ApplicationPostWorkerInit" },
      { "b.hook", "ApplicationPostWorkerInit" },
      { "containers.test.post_fork", "ApplicationPostFork" },
    }, object.executed_hooks)
    assert.same({ 1, 1, 2 }, { object.hooks[1].runs, object.hooks[2].runs, object.hooks[3].runs })
    assert.equal(second, j:hook("b.hook", 3))
  end)
end)

describe("the tables of a journal", function()
  it("keep a subscriber's counters over a reload, and say who is still subscribed", function()
    local j, s = open()
    local old = j:subscriber "old"
    j:run(s, WORKER)
    journal.C.fks_journal_next_generation(j.handle)
    assert.equal(s, j:subscriber("postfork", { hash = 0xab }))
    assert.not_equal(s, j:subscriber("postfork", { event = 3 }))
    j:run(s, WORKER)
    local object = j:read()
    assert.equal(2, object.masters[1].generation)
    assert.same({ "postfork", 2, true, 2, "00000000000000ab" }, {
      object.subscribers[1].name, object.subscribers[1].generation, object.subscribers[1].active,
      object.subscribers[1].outcomes.ok, object.subscribers[1].hash,
    })
    assert.same({ "old", 1, false }, { object.subscribers[old + 1].name, object.subscribers[old + 1].generation, object.subscribers[old + 1].active })
    assert.same({ 1, 2 }, { object.records[1].generation, object.records[2].generation })
  end)

  it("that are full refuse a subscriber, which is counted, and its runs are recorded without a name", function()
    local j = open()
    for i = 1, 256 do
      j:subscriber("s" .. i)
    end
    local last = j:subscriber "last"
    assert.equal(none, last)
    j:run(last, WORKER)
    local object = j:read()
    assert.equal(256, #object.subscribers)
    assert.equal(2, object.masters[1].subscribers_refused)
    assert.same({ support.null, "ok" }, { object.records[1].subscriber, object.records[1].outcome })
  end)

  it("have room for twice the subscribers there are", function()
    local j = open(nil, { subscribers = 300 })
    for i = 1, 599 do
      assert.not_equal(none, j:subscriber("s" .. i))
    end
    assert.equal(none, j:subscriber "one more")
  end)

  it("hold status, environment and each line once, cut between characters and never beyond their room", function()
    local j = open()
    j:status("up", "Test", "one")
    j:status(nil, nil, "two\27[31m\n")
    j:status(nil, nil, "one")
    local object = j:read()
    assert.same({ "up", "Test", { "one", "two [31m " } }, { object.status, object.environment, object["autoconfigure.log"] })
    j:status(("ä"):rep(200), "", nil)
    for i = 1, 40 do
      j:status(nil, nil, "line " .. i)
    end
    object = j:read()
    assert.same({ ("ä"):rep(126) .. "...", support.null, 24 }, { object.status, object.environment, #object["autoconfigure.log"] })
  end)

  it("keep the newest error of a process, cut between characters, and not for the next owner of its slot", function()
    local j, s = open { max_workers = 1 }
    journal.done(function()
      local run = j:begin(s, WORKER)
      j:error(run, "first")
      j:error(run, "second\nstack traceback:\n\tpostfork.lua:3")
      j:finish(run, journal.ERROR)
    end)
    assert.equal("second\nstack traceback:\n\tpostfork.lua:3", j:read().processes[1].error)
    journal.done(function()
      j:run(s, WORKER)
    end)
    assert.equal(support.null, j:read().processes[1].error)
    journal.done(function()
      j:error(j:begin(s, WORKER), ("€"):rep(2000))
    end)
    local text = j:read().processes[1].error
    assert.truthy(text:match "^[€]+%.%.%.$" and #text > 1000 and (#text - 3) % 3 == 0, #text)
    journal.done(function()
      j:error(j:begin(s, WORKER), "x" .. ("€"):rep(2000))
    end)
    text = j:read().processes[1].error
    assert.truthy(text:match "^x[€]+%.%.%.$" and #text > 1000 and (#text - 4) % 3 == 0, #text)
  end)
end)

describe("the file of a journal", function()
  local function own_name()
    return unistd.getpid() .. "-" .. support.start_time(unistd.getpid()) .. ".journal"
  end

  -- The instance's directory of an ini, made before the journal is.
  local function instance_dir()
    local base = journal.runtime_dir()
    assert(lfs.mkdir(base .. "/planted"))
    return base .. "/planted"
  end

  local function mode(path)
    return ("%o"):format(stat.lstat(path).st_mode % 4096)
  end

  it("is named after master and start time, readable by owner and group only, whatever the umask", function()
    for _, mask in ipairs { 0, 63, 511 } do -- 0, 077, 0777
      local ini = journal.ini { instance = "mask" .. mask }
      local old = stat.umask(mask)
      local j = journal.open(ini)
      stat.umask(old)
      assert.equal(journal.runtime_dir() .. "/mask" .. mask .. "/" .. own_name(), j:path())
      assert.same({ "640", "750" }, { mode(j:path()), mode(journal.runtime_dir() .. "/mask" .. mask) })
    end
  end)

  it("belongs to the workers' user and group, with its directory", function()
    local j = journal.open({ instance = "given" }, { worker_uid = 65534, worker_gid = 65534 })
    for _, path in ipairs { j:path(), journal.runtime_dir() .. "/given" } do
      local st = stat.stat(path)
      assert.same({ 65534, 65534 }, { st.st_uid, st.st_gid })
    end
    local k = journal.open({ instance = "grouped", journal_group = "www-data" }, { worker_uid = 65534, worker_gid = 65534 })
    assert.same({ 65534, 33 }, { stat.stat(k:path()).st_uid, stat.stat(k:path()).st_gid })
  end)

  it("is there all the same where journal_group is no group, and a line says so", function()
    local j, line, code = journal.open { journal_group = "no-such-group" }
    assert.is_string(j:path())
    assert.same({ journal.EJOURNAL, 1 }, { code, (line:find("forksafe.journal_group", 1, true)) })
  end)

  it("keeps no descriptor open, and has its tables and the slots of 64 processes on the disk", function()
    local before = support.fds(unistd.getpid())
    local j = journal.open()
    assert.same(before, support.fds(unistd.getpid()))
    local st = stat.stat(j:path())
    assert.truthy(st.st_blocks * 512 >= st.st_size - (1024 - 64) * 4096)
    local k = journal.open { instance = "small", max_workers = 64 }
    st = stat.stat(k:path())
    assert.truthy(st.st_blocks * 512 >= st.st_size)
  end)

  it("is found again by a master that was executed anew: its slot, generation and counters go on", function()
    local ini = journal.ini()
    local j, s = open(ini)
    j:run(s, { role = journal.MASTER })
    local path = j:path()
    j:close()
    local again = journal.open(ini, { generation = false })
    assert.equal(path, again:path())
    assert.equal(s, again:subscriber "postfork")
    again:run(s, { role = journal.MASTER })
    local object = again:read()
    assert.same({ 1, 1, 2, 2 }, { object.masters[1].generation, #object.processes, #object.records, object.subscribers[1].outcomes.ok })
  end)

  it("with other sizes is replaced, and the former one kept as a dead master's", function()
    local ini = journal.ini { instance = "sized" }
    local j, s = open(ini)
    j:run(s, WORKER)
    local path = j:path()
    j:close()
    local second = journal.open(journal.ini { instance = "sized", max_workers = 16 })
    assert.equal(path, second:path())
    assert.equal(0, #second:read().records)
    local former = {}
    for name in lfs.dir(journal.runtime_dir() .. "/sized") do
      if name:match "^%d+%-%d+%-%d+%.journal$" then
        table.insert(former, name)
      end
    end
    assert.equal(1, #former)
    local object = journal.read(journal.runtime_dir() .. "/sized/" .. former[1])
    assert.same({ 1, false }, { #object.records, object.masters[1].alive })
    assert.is_true(second:read().masters[1].alive)
  end)

  it("is one for each of two masters of one ini, and for two inis of one name", function()
    local ini, other = journal.ini(), journal.ini()
    local mine, s = open(ini)
    mine:run(s, WORKER)
    local elsewhere = journal.stay(function()
      local theirs, t = open(ini)
      theirs:run(t, WORKER)
      theirs:run(t, WORKER)
    end)
    local k, u = open(other)
    k:run(u, WORKER)
    local count = 0
    for name in lfs.dir(mine:path():match "^(.*)/") do
      if name:match "%.journal$" then
        count = count + 1
        local object = journal.read(mine:path():match "^(.*)/" .. "/" .. name)
        assert.equal(object.masters[1].pid == elsewhere and 2 or 1, object.subscribers[1].begun)
      end
    end
    assert.equal(2, count)
    assert.not_equal(mine:path():match "^(.*)/", k:path():match "^(.*)/")
    assert.same({ 1, 1 }, { #k:read().records, #mine:read().records })
  end)

  it("of dead masters are kept as many as journal_keep says, the newest, and never one of the living is removed", function()
    local ini = journal.ini { journal_keep = 2, instance = "kept" }
    local directory = journal.runtime_dir() .. "/kept"
    local living = journal.stay(function()
      journal.open(ini)
    end)
    local dead = {}
    for i = 1, 5 do
      dead[i] = journal.done(function()
        journal.open(ini)
      end)
      support.sleep(0.01)
    end
    support.write(directory .. "/.1-2.journal." .. dead[1] .. ".tmp", "half made")
    support.write(directory .. "/notes.journal", "not ours")
    local own = journal.open(ini)
    local left = {}
    for name in lfs.dir(directory) do
      if name ~= "." and name ~= ".." then
        table.insert(left, tonumber(name:match "^(%d+)%-") or name)
      end
    end
    table.sort(left, function(a, b)
      return tostring(a) < tostring(b)
    end)
    local expected = { living, dead[4], dead[5], unistd.getpid(), "notes.journal" }
    table.sort(expected, function(a, b)
      return tostring(a) < tostring(b)
    end)
    assert.same(expected, left)
    assert.is_string(own:path())
  end)

  -- What stands where the journal belongs, and what the line calls it.
  local planted = {
    ["a symbolic link"] = { "is a symbolic link", function(path, directory)
      support.write(directory .. "/victim", "precious")
      unistd.link("victim", path, true)
    end },
    ["a FIFO"] = { "is not a plain file", function(path)
      stat.mkfifo(path)
    end },
    ["a directory"] = { "is not a plain file", function(path)
      lfs.mkdir(path)
    end },
    ["a file with a second name"] = { "has more than one name", function(path, directory)
      support.write(directory .. "/victim", "precious")
      unistd.link(directory .. "/victim", path)
    end },
    ["another user's file"] = { "belongs to another user", function(path)
      support.write(path, "theirs")
      support.give(path, 65534)
    end },
    ["a file that others can write"] = { "can be written by others", function(path)
      support.write(path, "theirs")
      stat.chmod(path, 438)
    end },
    ["a file that is no journal"] = { "is no journal", function(path)
      support.write(path, "something of the user's")
    end },
  }
  for what, case in pairs(planted) do
    it("is in memory only where " .. what .. " has its name, which is left alone", function()
      local directory = instance_dir()
      local path = directory .. "/" .. own_name()
      case[2](path, directory)
      local before = stat.lstat(path)
      local j, s, line, code = open { instance = "planted" }
      assert.is_nil(j:path())
      assert.equal(journal.EJOURNAL, code)
      assert.truthy(line:find(path .. ": " .. case[1], 1, true), line)
      assert.same({ before.st_ino, before.st_size, before.st_mtime }, { stat.lstat(path).st_ino, stat.lstat(path).st_size, stat.lstat(path).st_mtime })
      if support.read(directory .. "/victim") then
        assert.equal("precious", support.read(directory .. "/victim"))
      end
      journal.done(function()
        j:run(s, WORKER)
      end)
      assert.equal(1, #j:read_mapped().records)
    end)
  end

  it("goes to no directory that is a symbolic link, another user's, or open to others; the line names all that was tried", function()
    local base = support.tmpdir()
    lfs.mkdir(base .. "/open")
    stat.chmod(base .. "/open", 511)
    lfs.mkdir(base .. "/theirs")
    support.give(base .. "/theirs", 65534)
    unistd.link("theirs", base .. "/link", true)
    for name, why in pairs {
      open = "others may write to it and it is not sticky",
      theirs = "belongs to another user",
      link = "is a symbolic link",
      ["missing/below"] = "No such file or directory",
    } do
      local j, line = journal.open { runtime_dir = base .. "/" .. name }
      assert.is_nil(j:path())
      assert.truthy(line:find("no runtime directory can be had (" .. base .. "/" .. name .. ": " .. why .. "); set forksafe.runtime_dir", 1, true), line)
      j:close()
    end
    stat.chmod(base .. "/open", 1023)
    assert.is_string(journal.open({ runtime_dir = base .. "/open" }):path())
    local link = base .. "/sticky"
    lfs.mkdir(link)
    unistd.link("/tmp", link .. "/planted", true)
    local j, line = journal.open { runtime_dir = link, instance = "planted" }
    assert.is_nil(j:path())
    assert.truthy(line:find("is a symbolic link", 1, true), line)
  end)

  it("lives in the first directory of the list that can be had", function()
    local ffi = require "ffi"
    ffi.cdef [[
      int unshare(int flags);
      int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data);
    ]]
    local MS_RDONLY, MS_REMOUNT, MS_REC_PRIVATE, CLONE_NEWNS = 1, 32, 0x44000, 0x20000
    local stdlib = require "posix.stdlib"
    local base = support.tmpdir()
    stat.chmod(base, 493)
    local ini = support.write(base .. "/app.ini", "[forksafe]\ninstance = listed\n[settings]\n")
    local function home(options)
      local j, line = journal.open(ini, options)
      assert(j:path(), line)
      local path = j:path():match "^(.*)/listed/"
      local st = stat.stat(path)
      os.remove(j:path())
      j:close()
      return { path, ("%o"):format(st.st_mode % 4096), st.st_uid }
    end
    journal.done(function()
      -- /run and /dev/shm of our own, so that nothing of this machine is touched
      assert(ffi.C.unshare(CLONE_NEWNS) == 0)
      assert(ffi.C.mount("none", "/", nil, MS_REC_PRIVATE, nil) == 0)
      assert(ffi.C.mount("x", "/run", "tmpfs", 0, "mode=755") == 0)
      assert(ffi.C.mount("x", "/dev/shm", "tmpfs", 0, "mode=1777") == 0)
      stdlib.setenv("RUNTIME_DIRECTORY", base .. "/one:" .. base .. "/two")
      stdlib.setenv("XDG_RUNTIME_DIR", base)
      assert.same({ base .. "/one", "700", 0 }, home())
      stdlib.setenv "RUNTIME_DIRECTORY"
      assert.same({ base .. "/forksafe", "700", 0 }, home())
      assert.same({ "/run/forksafe", "755", 0 }, home { worker_uid = 65534 }) -- who could not get at root's own directory
      stdlib.setenv "XDG_RUNTIME_DIR"
      assert.same({ "/run/forksafe", "755", 0 }, home())
      assert(ffi.C.mount("x", "/run", nil, MS_REMOUNT + MS_RDONLY, nil) == 0)
      assert.same({ "/dev/shm/forksafe-0", "700", 0 }, home())
      assert.same({ "/dev/shm/forksafe-65534", "700", 65534 }, home { worker_uid = 65534 })
      stat.chmod("/dev/shm/forksafe-65534", 511)
      local j, line = journal.open(ini, { worker_uid = 65534 })
      assert(not j:path())
      local tried = "(/run/forksafe/listed: Read-only file system; /dev/shm/forksafe-65534: others may write to it and it is not sticky)"
      assert(line:find("no runtime directory can be had " .. tried, 1, true), line)
    end)
  end)

  it("on a full file system is a line, and the counters go on in memory", function()
    local full = support.tmpdir()
    support.must_run { "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", full }
    support.defer(function()
      support.must_run { "umount", full }
    end)
    local j, s, line, code = open { runtime_dir = full }
    assert.is_nil(j:path())
    assert.equal(journal.EJOURNAL, code)
    assert.truthy(line:find("No space left on device; make room for it there, or set forksafe.runtime_dir to another place", 1, true), line)
    journal.done(function()
      j:run(s, WORKER)
    end)
    assert.equal(1, j:read_mapped().subscribers[1].outcomes.ok)
    assert.same({}, require("support.files").all_files(full))
  end)

  it("gets the blocks of further slots when they are claimed; on a file system that is full by then, those of the dead are taken", function()
    local place = support.tmpdir()
    support.must_run { "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place }
    support.defer(function()
      support.must_run { "umount", "-l", place } -- it is mapped here
    end)
    local j, s = open { runtime_dir = place }
    local function run_in_children(count)
      for _ = 1, count do
        journal.done(function()
          j:run(s, WORKER)
        end)
      end
    end
    run_in_children(66)
    assert.equal(66, #j:read().processes)
    support.run { "/bin/sh", "-c", 'cat /dev/zero >"$1/filler"', "sh", place }
    run_in_children(4)
    local object = j:read()
    assert.same({ 66, 0, 70 }, { #object.processes, object.masters[1].slots_refused, object.subscribers[1].outcomes.ok })
  end)

  it("that would be larger than the process may make one is a line and no signal", function()
    local ini = journal.ini()
    journal.done(function()
      local resource = require "posix.sys.resource"
      assert(resource.setrlimit(resource.RLIMIT_FSIZE, { rlim_cur = 65536, rlim_max = 65536 }) == 0)
      local j, line = journal.open(ini)
      assert(not j:path() and line:find("File too large", 1, true), line)
    end)
  end)

  it("is one where several processes open it for their master at the same time", function()
    local ini, master = journal.ini(), unistd.getpid()
    local children = {}
    for i = 1, 8 do
      children[i] = journal.child(function()
        local j, line = journal.open(ini, { master = master })
        assert(j:path(), line)
        for n = 1, 20 do
          j:hook("hook" .. n)
          j:subscriber("s" .. n)
        end
        for n = 0, 19 do
          journal.C.fks_journal_fire(j.handle, n)
        end
      end)
    end
    for _, pid in ipairs(children) do
      assert.same({ "exited", 0 }, { journal.reap(pid) })
    end
    local j = journal.open(ini, { generation = false })
    local object = j:read()
    assert.same({ 20, 20, 8 }, { #object.hooks, #object.subscribers, object.masters[1].generation })
    for _, hook in ipairs(object.hooks) do
      assert.equal(8, hook.runs)
    end
    assert.equal(1, #require("support.files").all_files(j:path():match "^(.*)/"))
  end)

  it("is found again by a master that has dropped its privileges", function()
    local ini = journal.ini()
    stat.chmod(journal.runtime_dir():match "^(.*)/", 493)
    stat.chmod(ini:match "^(.*)/", 493)
    journal.done(function()
      local j, s = open(ini, { worker_uid = 65534, worker_gid = 65534 })
      j:run(s, { role = journal.MASTER })
      local path = j:path()
      j:close()
      local ffi = require "ffi"
      assert(ffi.C.setgroups(0, nil) == 0 and ffi.C.setresgid(65534, 65534, 65534) == 0 and ffi.C.setresuid(65534, 65534, 65534) == 0)
      local again, line = journal.open(ini, { generation = false })
      assert(again:path() == path, line)
      assert(#again:read().records == 1)
    end)
  end)

  it("is not made where it would be more than a reader takes, or more than fits", function()
    local j, line = journal.open { max_workers = 100000, records = 65536 }
    assert.is_nil(j:path())
    assert.truthy(line:find("forksafe.max_workers times forksafe.records", 1, true), line)
    j:run(none, WORKER)
    assert.equal(1, #j:read_mapped().records)
  end)

  describe("at a fixed path", function()
    local function fixed()
      local path = support.tmpdir() .. "/here.journal"
      return path, journal.ini { journal = path }
    end

    it("replaces a dead master's", function()
      local path, ini = fixed()
      journal.done(function()
        local j, s = open(ini)
        j:run(s, WORKER)
      end)
      assert.equal(1, #journal.read(path).records)
      local j = journal.open(ini)
      assert.equal(path, j:path())
      assert.same({ 0, unistd.getpid() }, { #j:read().records, j:read().masters[1].pid })
    end)

    it("leaves a living master's alone", function()
      local path, ini = fixed()
      local other = journal.stay(function()
        local j, s = open(ini)
        j:run(s, WORKER)
      end)
      local j, line = journal.open(ini)
      assert.is_nil(j:path())
      assert.truthy(line:find(path .. ": forksafe.journal is in use by the master " .. other .. ";", 1, true), line)
      assert.same({ other, 1 }, { journal.read(path).masters[1].pid, #journal.read(path).records })
    end)

    it("leaves what is no journal alone, and goes on with its own", function()
      local path, ini = fixed()
      support.write(path, "a letter")
      local j, line = journal.open(ini)
      assert.truthy(line:find(path .. ": is no journal", 1, true), line)
      assert.equal("a letter", support.read(path))
      j:close()
      os.remove(path)
      local k, s = open(ini)
      k:run(s, WORKER)
      k:close()
      assert.equal(1, #journal.open(ini):read().records)
    end)
  end)
end)

describe("a reader", function()
  -- A small journal with something in every part of it.
  local function sample()
    local j, s = open { max_workers = 4, records = 4 }
    j:status("up", "Test", "a line")
    for i = 1, 3 do
      journal.done(function()
        local run = j:begin(s, { role = journal.WORKER, worker = i, forked = 1 })
        j:error(run, "something\nstack traceback")
        j:finish(run, journal.ERROR)
        j:begin(s, WORKER)
      end)
    end
    return j:path(), support.read(j:path())
  end

  -- Reads a file in a child: neither a crash nor anything but a debug object or a line passes.
  local function reads(count, prepare)
    journal.done(function()
      for i = 1, count do
        local text, line, code = journal.read_text(prepare(i))
        if text then
          assert.equal("forksafe.debug/1", cjson.decode(text).schema)
        else
          assert.truthy(#line > 0 and code < 0)
        end
      end
    end)
  end

  it("survives truncation at every offset of the header, and at many behind it", function()
    local path, text = sample()
    local copy = support.tmpdir() .. "/cut.journal"
    reads(700, function(i)
      return support.write(copy, text:sub(1, i < 400 and i or math.random(#text)))
    end)
    assert.truthy(#journal.read(path).records > 0)
  end)

  it("survives a header whose every number is a lie", function()
    local _, text = sample()
    local copy = support.tmpdir() .. "/lie.journal"
    local offsets, lies = {}, { "\0\0\0\0", "\1\0\0\0", "\255\255\255\255", "\255\255\255\127", "\0\0\1\0" }
    for at = 16, 324, 4 do
      for _, lie in ipairs(lies) do
        table.insert(offsets, { at, lie })
      end
    end
    reads(#offsets, function(i)
      local at, lie = unpack(offsets[i])
      return support.write(copy, text:sub(1, at) .. lie .. text:sub(at + 5))
    end)
  end)

  it("survives journals with random damage", function()
    local _, text = sample()
    local copy = support.tmpdir() .. "/bent.journal"
    local values = { "\0\0\0\0\0\0\0\0", "\255\255\255\255\255\255\255\255", "\1\0\0\0\0\0\0\128", "\0\16\0\0", "\255" }
    reads(1500, function()
      local bent = text
      for _ = 1, math.random(6) do
        local at = math.random() < 0.5 and math.random(8, 328) or math.random(#text - 8)
        local value = values[math.random(#values)]
        bent = bent:sub(1, at) .. value .. bent:sub(at + #value + 1)
      end
      return support.write(copy, bent)
    end)
  end)

  it("survives somebody who scribbles over the file while it reads", function()
    local path, text = sample()
    local scribbler = journal.stay(function()
      local pid = unistd.getpid()
      if unistd.fork() == 0 then
        local file = assert(io.open(path, "r+b"))
        file:setvbuf "no"
        while unistd.getppid() == pid do
          file:seek("set", math.random(328, #text - 8))
          file:write(string.char(math.random(0, 255)):rep(math.random(8)))
        end
        unistd._exit(0)
      end
    end)
    reads(300, function()
      return path
    end)
    journal.kill(scribbler)
  end)

  it("refuses what is no journal, what is damaged and what is of another version, each with a line that names the file", function()
    local path, text = sample()
    local directory = support.tmpdir()
    local function line_of(name, content)
      local _, line, code = journal.read_text(support.write(directory .. "/" .. name, content))
      return line, code
    end
    local line, code = line_of("letter", "a letter")
    assert.same({ directory .. "/letter: is no forksafe journal", journal.EJOURNAL }, { line, code })
    line, code = line_of("other", text:sub(1, 16) .. "\9\0\0\0" .. text:sub(21))
    assert.equal(journal.EVERSION, code)
    assert.truthy(line:find(directory .. "/other: is a journal of version 9 and this forksafe reads version 2", 1, true), line)
    line, code = line_of("short", text:sub(1, 5000))
    assert.equal(journal.EJOURNAL, code)
    assert.truthy(line:find(directory .. "/short: is damaged (it is shorter than it says)", 1, true), line)
    assert.equal(journal.ENOENT, (select(3, journal.read_text(directory .. "/nothing"))))
    stat.mkfifo(directory .. "/fifo")
    assert.equal(journal.EJOURNAL, (select(3, journal.read_text(directory .. "/fifo"))))
    assert.equal(journal.EJOURNAL, (select(3, journal.read_text(directory))))
    assert.is_table(journal.read(path))
  end)

  it("sees over its own process's map what another sees in the file", function()
    local j, s = open()
    journal.done(function()
      j:run(s, WORKER)
    end)
    j:begin(s, { role = journal.MASTER })
    local mapped, file = j:read_mapped(), j:read()
    for _, object in ipairs { mapped, file } do
      object.generated_at, object.masters[1].journal = nil, nil
      for _, subscriber in ipairs(object.subscribers) do
        subscriber.stale = nil -- only asked where files may be opened
      end
    end
    assert.same(file, mapped)
  end)

  it("makes valid UTF-8 of any bytes, and escapes what a terminal would act on", function()
    local j = open()
    j:run(j:subscriber "a\27[31m\226\128\174b\194\155c\127d\255e<script>", WORKER)
    local text = journal.read_text(j:path())
    assert.is_nil(text:find "[%z\1-\31\127]")
    for _, bytes in ipairs { "\226\128\174", "\194\155", "\255" } do
      assert.is_nil(text:find(bytes, 1, true))
    end
    assert.equal("a\27[31m\226\128\174b\194\155c\127d\239\191\189e<script>", cjson.decode(text).subscribers[2].name)
  end)

  it("makes of no journal at all the object of a server that was not seen", function()
    local failure = require("ffi").new "struct fks_error"
    local text = journal.C.fks_debug_text(nil, 0, "nobody", 2, failure)
    local json = require("ffi").string(text)
    local object = cjson.decode(json)
    assert.same({ "attempting auto-configure", support.null, { "uWSGI not available" }, true, "nobody" }, {
      object.status, object.environment, object["autoconfigure.log"], object.enabled, object.instance,
    })
    for _, list in ipairs { "executed_hooks", "masters", "processes", "hooks", "subscribers", "records", "findings" } do
      assert.truthy(json:find('\n  "' .. list .. '": []', 1, true), list)
    end
  end)
end)
