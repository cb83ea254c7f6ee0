-- SPDX-License-Identifier: MIT
--
-- `forksafe ps`: the processes of real servers as a table and as JSON, alive, after a reload, after their end; for others who may
-- read; of journals that lie.
local cjson = require "cjson"
local lfs = require "lfs"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"
local prefork = require "containers.prefork_server"
local support = require "support"

local command = support.paths.command

-- The rows of a table as lists of words, headings first.
local function rows_of(text)
  local rows = {}
  for line in text:gmatch "[^\n]+" do
    local words = {}
    for word in line:gmatch "%S+" do
      table.insert(words, word)
    end
    table.insert(rows, words)
  end
  return rows
end

-- `forksafe ps` with these arguments; each row a table by its heading. SCRIPTS is the rest of the line, STATE may have two words.
local function ps(...)
  local rows = rows_of(support.must_run { command, "ps", ... })
  local headings, list = table.remove(rows, 1), {}
  for _, words in ipairs(rows) do
    local row, at = {}, 1
    for _, heading in ipairs(headings) do
      row[heading], at = words[at], at + 1
      if heading == "STATE" and row.STATE == "exited" then
        row.STATE, at = row.STATE .. " " .. words[at], at + 1
      end
    end
    row.SCRIPTS = table.concat(words, " ", at - 1)
    table.insert(list, row)
  end
  return list, headings
end

local function row_of(list, pid)
  for _, row in ipairs(list) do
    if row.PID == tostring(pid) then
      return row
    end
  end
  return nil
end

local function pids_in(list)
  local pids = {}
  for _, row in ipairs(list) do
    table.insert(pids, tonumber(row.PID))
  end
  table.sort(pids)
  return pids
end

local function json(...)
  return cjson.decode(support.must_run { command, "ps", "--json", ... })
end

-- A server whose workers are all ready.
local function start(t)
  local server = prefork.start(t)
  support.eventually("all workers are ready", function()
    local result = support.run { command, "ps", "--json", tostring(server.pid) }
    local ready, left = 0, 0
    for _, process in ipairs(result.code == 0 and cjson.decode(result.stdout).processes or {}) do
      ready = ready + (process.role == "worker" and process.state == "ready" and 1 or 0)
      left = left + (process.generation == 0 and 1 or 0)
    end
    return ready == server.workers and left == 0, result.output
  end)
  return server
end

local function all_of(server)
  local pids = server:children()
  table.insert(pids, server.pid)
  return prefork.sorted(pids)
end

-- A command on a machine that has no other server: what others have in /run and /dev/shm is covered.
local function alone(...)
  return { "unshare", "--mount", "sh", "-c", 'mount -t tmpfs x /run && mount -t tmpfs x /dev/shm && exec "$@"', "sh", command, "ps", ... }
end

-- `forksafe ps` as a user who is nobody but a member of this group.
local function as_member(gid, ...)
  return { "setpriv", "--reuid=65534", "--regid=" .. gid, "--clear-groups", command, "ps", ... }
end

local function refuses(code, text, ...)
  local result = support.run { command, "ps", ... }
  assert.same({ code, "" }, { result.code, result.stdout }, result.stderr)
  assert.equal("forksafe ps: " .. text, result.stderr:sub(1, 13 + #text))
end

local FAILS_IN_2 = [[return function(event) if event.worker == 2 then error("no database") end end]]

describe("forksafe ps", function()
  it("shows the processes that /proc has: the master first, the workers by their slots", function()
    local server = start { workers = 3, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local list, headings = ps(tostring(server.pid))
    assert.same({ "ROLE", "SLOT", "PID", "GEN", "STATE", "SINCE", "HOOKS", "FAILED", "SLOWEST", "SCRIPTS" }, headings)
    assert.same(all_of(server), pids_in(list))
    assert.same({ "master", "-", tostring(server.pid), "1", "ready" }, { list[1].ROLE, list[1].SLOT, list[1].PID, list[1].GEN, list[1].STATE })
    for slot = 1, 3 do
      local row = list[slot + 1]
      -- PostFork has two subscribers, PostWorkerInit one.
      assert.same({ "worker", tostring(slot), "1", "ready", "3", slot == 2 and "1" or "0" },
        { row.ROLE, row.SLOT, row.GEN, row.STATE, row.HOOKS, row.FAILED })
      assert.truthy(row.SINCE:match "^%d+s$" and row.SLOWEST:match "^[%d.]+[mu]s$", row.SINCE .. row.SLOWEST)
      assert.truthy(row.SCRIPTS:match "^%x%x%x%x%x%x%x%x$", row.SCRIPTS)
    end
  end)

  it("gives as JSON what the debug object gives, with the instance and the scripts' version", function()
    local server = start { workers = 2, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local object, debug = json(tostring(server.pid)), support.debug(server.pid)
    assert.equal("forksafe.ps/1", object.schema)
    assert.truthy(object.generated_at:match "^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$")
    local version = object.processes[1].scripts.version
    assert.truthy(version:match "^%x%x%x%x%x%x%x%x$")
    local expected = {}
    for _, process in ipairs(debug.processes) do
      process.instance, process.scripts = debug.instance, { version = version, stale = false }
      expected[process.pid] = process
    end
    assert.equal(3, #object.processes)
    for _, process in ipairs(object.processes) do
      -- The clocks are compared anew by each command: a time may differ in its last digit.
      local since, again = process.since, expected[process.pid].since
      process.since, expected[process.pid].since = nil, nil
      assert.equal(since:sub(1, 16), again:sub(1, 16))
      assert.same(expected[process.pid], process)
    end
  end)

  it("shows who lives, with --all also who ended and how", function()
    local server = start { workers = 2 }
    local killed = tonumber(ps(tostring(server.pid))[2].PID)
    signal.kill(killed, signal.SIGKILL)
    prefork.wait_said(server, "PostWorkerInit", 3)
    local living = ps(tostring(server.pid))
    assert.same(all_of(server), pids_in(living))
    assert.is_nil(row_of(living, killed))
    local all = ps("--all", tostring(server.pid))
    assert.equal(4, #all)
    assert.same({ "exited SIGKILL", "1" }, { row_of(all, killed).STATE, row_of(all, killed).SLOT })
    assert.equal(tostring(killed), all[2].PID) -- the older one of slot 1
    assert.same({ "worker", "1", "ready" }, { all[3].ROLE, all[3].SLOT, all[3].STATE })
    local ended
    for _, process in ipairs(json("--all", tostring(server.pid)).processes) do
      ended = process.pid == killed and process or ended
    end
    assert.same({ "exited", 9, false }, { ended.state, ended.exit_signal, ended.alive })
  end)

  it("shows after the end, with --previous or by the journal, all that the master and its workers left", function()
    local server = start { workers = 2 }
    local pids, path = all_of(server), support.debug(server.pid).masters[1].journal
    signal.kill(server.pid, signal.SIGKILL)
    server:wait()
    support.eventually("its workers are gone", function()
      return not support.alive(pids[2]) and not support.alive(pids[3])
    end)
    refuses(3, server.ini .. ": no master lives; add --previous", server.ini)
    for _, arguments in ipairs { { "--previous", server.ini }, { path } } do
      local list = ps(unpack(arguments))
      assert.same(pids, pids_in(list))
      assert.same({ "dead", "-" }, { list[1].STATE, list[1].SINCE }) -- nobody was left to notice it
      for _, process in ipairs(json(unpack(arguments)).processes) do
        assert.is_false(process.alive)
      end
    end
  end)

  it("names an instance and a master where there are several", function()
    local one = start { workers = 1 }
    local other = start { workers = 1 }
    local second = prefork.start { ini = one.ini, workers = 1 }
    prefork.wait_said(second, "PostWorkerInit")
    local _, headings = ps(other.ini)
    assert.equal("ROLE", headings[1])
    local list
    list, headings = ps(one.ini)
    assert.same({ "MASTER", "ROLE" }, { headings[1], headings[2] })
    local masters = {}
    for _, row in ipairs(list) do
      table.insert(masters, tonumber(row.MASTER))
    end
    assert.same({ one.pid, one.pid, second.pid, second.pid }, masters)
    local rows = rows_of(support.must_run(alone()))
    assert.same({ "INSTANCE", "MASTER" }, { rows[1][1], rows[1][2] })
    local instances = {}
    for i = 2, #rows do
      instances[rows[i][1]] = (instances[rows[i][1]] or 0) + 1
    end
    assert.same({ [support.debug(one.ini).instance] = 4, [support.debug(other.ini).instance] = 2 }, instances)
  end)

  it("tells which scripts run, and that they are stale once their files are others", function()
    local server = start { workers = 1, hooks = { ["postfork.lua"] = "return function() end" } }
    local script = server.ini:gsub("app.ini$", "hooks/postfork.lua")
    local function scripts()
      return json(server.ini).processes[1].scripts
    end
    local first = scripts().version
    assert.is_false(scripts().stale)
    support.write(script, "return function() end") -- the same text: another time, nothing else
    assert.is_false(scripts().stale)
    support.write(script, "return function() return 1 end")
    assert.same({ version = first, stale = true }, scripts())
    assert.equal(first .. " stale", ps(server.ini)[1].SCRIPTS)
    server:signal "HUP"
    prefork.wait_said(server, "ChildExit")
    local second = scripts().version
    assert.same({ version = second, stale = false }, scripts())
    assert.are_not.equal(first, second)
    os.remove(script)
    assert.same({ version = second, stale = true }, scripts())
    support.write(script, "return function() end")
    server:signal "HUP"
    prefork.wait_said(server, "ChildExit", 2)
    assert.same({ version = first, stale = false }, scripts())
    os.rename(script, (script:gsub("postfork.lua$", "prefork.lua"))) -- the name is the subscription
    server:signal "HUP"
    prefork.wait_said(server, "ChildExit", 3)
    assert.are_not.equal(first, scripts().version)
  end)

  it("calls a process of an older generation stale, and says nothing of its version", function()
    local journal = require "support.journal"
    local j = journal.open()
    j:hook "h"
    local path = support.write(support.tmpdir() .. "/a.lua", "a")
    j:subscriber("a", { path = path, hash = 0xaf63dc4c8601ec8cULL }) -- FNV-1a of "a"
    j:claim { role = journal.MASTER }
    local old = journal.stay(function()
      j:claim { role = journal.WORKER, worker = 1, forked = 1 }
    end)
    journal.C.fks_journal_next_generation(j.handle)
    j:subscriber("a", { path = path, hash = 0xaf63dc4c8601ec8cULL })
    local list = ps(j:path())
    assert.same({ "1", "- stale" }, { row_of(list, old).GEN, row_of(list, old).SCRIPTS })
    assert.same("2", list[1].GEN)
    assert.truthy(list[1].SCRIPTS:match "^%x+$")
    journal.kill(old)
  end)

  it("does not show one that has ended, also where its master has not noticed yet", function()
    local journal = require "support.journal"
    local j = journal.open()
    j:hook "h"
    j:claim { role = journal.MASTER }
    local ended = journal.done(function()
      j:claim { role = journal.WORKER, worker = 1, forked = 1 }
    end)
    assert.same({ unistd.getpid() }, pids_in(ps(j:path())))
    assert.same({ "dead", "-" }, { row_of(ps("--all", j:path()), ended).STATE, row_of(ps("--all", j:path()), ended).SINCE })
  end)

  it("serves a member of the journal's group, and calls nothing stale that he may not read", function()
    local server = start { workers = 2, keys = { "journal_group = www-data" } }
    local directory = server.ini:match "^(.*)/"
    for _, path in ipairs { support.runtime_dir():match "^(.*)/", directory } do
      stat.chmod(path, 493)
    end
    local function member()
      return cjson.decode(support.must_run(as_member(33, "--json", server.ini))).processes
    end
    assert.equal(3, #member())
    assert.is_false(member()[1].scripts.stale)
    stat.chmod(directory .. "/hooks", 448)
    assert.equal(support.null, member()[1].scripts.stale)
    assert.equal(json(server.ini).processes[1].scripts.version, member()[1].scripts.version)
    local result = support.run(as_member(65534, server.ini))
    assert.same({ 4, "" }, { result.code, result.stdout })
    assert.truthy(result.stderr:find("permission denied; be the server's user", 1, true))
  end)

  it("says where processes are missing because the journal was full", function()
    local server = prefork.start { workers = 3, keys = { "max_workers = 2" } }
    prefork.wait_said(server, "PostWorkerInit")
    local result = support.run { command, "ps", tostring(server.pid) }
    assert.equal(3, #rows_of(result.stdout)) -- headings, and two slots
    assert.equal(("forksafe ps: master %d: 2 processes found the journal full and are not shown; raise forksafe.max_workers (2)\n")
      :format(server.pid), result.stderr)
  end)

  it("is in colour on a terminal only, and not where NO_COLOR is set", function()
    local server = start { workers = 1 }
    local function is_coloured(t)
      local argv = { command, "ps", server.ini, t.option, env = t.env, pty = t.pty }
      local process = support.spawn(argv)
      assert.same({ "exited", 0 }, { process:wait() })
      assert.truthy(process:output():find("ready", 1, true))
      return process:output():find("\27[32mready", 1, true) ~= nil
    end
    local xterm = { TERM = "xterm", NO_COLOR = false }
    assert.is_false(is_coloured { env = xterm })
    assert.is_true(is_coloured { env = xterm, pty = true })
    assert.is_true(is_coloured { env = { TERM = "xterm", NO_COLOR = "" }, pty = true })
    assert.is_false(is_coloured { env = { TERM = "xterm", NO_COLOR = "1" }, pty = true })
    assert.is_false(is_coloured { env = { TERM = "dumb", NO_COLOR = false }, pty = true })
    assert.is_true(is_coloured { env = { NO_COLOR = "1" }, option = "--color" })
    assert.is_true(is_coloured { env = { NO_COLOR = "1" }, option = "--color=always" })
    assert.is_false(is_coloured { env = xterm, pty = true, option = "--color=never" })
    assert.is_true(is_coloured { env = xterm, pty = true, option = "--color=auto" })
    refuses(2, "--color: 'sometimes' is none of auto, always, never", "--color=sometimes")
  end)

  it("leaves the headings out when asked", function()
    local server = start { workers = 1 }
    local rows = rows_of(support.must_run { command, "ps", "--no-headings", server.ini })
    assert.same({ 2, "master" }, { #rows, rows[1][1] })
  end)

  it("shows a name with terminal escapes harmlessly", function()
    local server = start { workers = 1 }
    local other = start { workers = 1 }
    local path = support.debug(server.ini).masters[1].journal
    assert(lfs.mkdir(support.runtime_dir() .. "/evil\27[31m\194\155\226\128\174\255x\n"))
    support.write(support.runtime_dir() .. "/evil\27[31m\194\155\226\128\174\255x\n/1-1.journal", support.read(path))
    local text = support.must_run(alone "--color=never")
    assert.truthy(text:find("evil\\x1b[31m\\xc2\\x9b\\xe2\\x80\\xae\\xffx\\x0a ", 1, true), text)
    assert.is_nil(text:find "[\27\155\174\255]")
    assert.equal(7, #rows_of(text)) -- the copy's processes live, too
    local result = support.must_run(alone "--json")
    assert.is_nil(result:find "[\27\127-\159]")
    assert.truthy(cjson.decode(result).processes[6])
    assert.truthy(support.alive(other.pid))
  end)

  it("survives journals that lie", function()
    local server = start { workers = 2, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local path = support.debug(server.ini).masters[1].journal
    local text = support.read(path)
    local liar = support.tmpdir() .. "/liar.journal"
    math.randomseed(7)
    local codes = {}
    for round = 1, 60 do
      local bytes, used = text, 16384 + 4 * 4096
      for _ = 1, 12 do
        local at = round % 2 == 0 and math.random(17, 328) or math.random(329, used)
        bytes = bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1)
      end
      support.write(liar, round % 10 == 0 and bytes:sub(1, math.random(1, #bytes)) or bytes)
      for _, option in ipairs { "--all", "--json" } do
        local result = support.run { command, "ps", option, liar }
        assert.truthy(result.code == 0 or result.code == 1 or result.code == 5, ("round %d: %s %s"):format(round, result.code, result.signal))
        assert.is_nil(result.output:find "[%z\1-\8\11-\31\127]", "round " .. round)
        codes[result.code] = true
      end
    end
    assert.is_true(codes[0] and codes[1])
    support.write(liar, "")
    refuses(1, liar, liar)
  end)

  it("uses the exit codes of all commands, and explains itself", function()
    local run = support.runtime_dir()
    refuses(3, "no such instance: 'nobody'; searched: " .. run, "nobody")
    refuses(2, "one TARGET at most; 'b' is another", "a", "b")
    refuses(1, run .. "/none.ini: there is no such file", run .. "/none.ini")
    assert.equal(3, support.run(alone()).code)
    local server = start { workers = 1 }
    local path = support.debug(server.ini).masters[1].journal
    local text = support.read(path)
    local other = support.write(support.tmpdir() .. "/other.journal", text:sub(1, 16) .. "\9\0\0\0" .. text:sub(21))
    refuses(5, other .. ": is a journal of version 9", other)
    for _, option in ipairs { "--all", "--json" } do
      local full = support.run { "sh", "-c", command .. " ps " .. option .. " " .. server.ini .. " > /dev/full" }
      assert.same({ 1, "forksafe ps: standard output cannot be written to\n" }, { full.code, full.stderr })
    end
    local help = support.must_run { command, "ps", "--help" }
    for _, word in ipairs { "--all", "--previous", "--json", "--no-headings", "--color", "SLOWEST", "Exit codes:" } do
      assert.truthy(help:find(word, 1, true), word)
    end
    assert.truthy(support.must_run({ command, "--help" }):find("forksafe ps ", 1, true))
  end)

  it("reads the largest journal with a claim and one small read for each process", function()
    local directory = support.tmpdir()
    local ini = support.write(directory .. "/big.ini", "[forksafe]\nmax_workers = 10000\n[settings]\n")
    local filler = support.spawn { support.paths.build .. "/tests/fill_journal", ini, "1000", directory, "100", pty = true }
    local path = filler:wait_for("(/[^\r\n]+%.journal)", 120)
    local function look(option)
      return #rows_of(support.must_run { command, "ps", "--no-headings", option, path })
    end
    assert.equal(10000, look "--all")
    assert.equal(101, look())
    -- Two reads for each subscriber, one for each process that may live.
    support.must_run { "strace", "-c", "-o", directory .. "/calls", command, "ps", path }
    local calls = support.read(directory .. "/calls")
    local preads = tonumber(calls:match "(%d+)%s+pread64")
    assert.is_true(preads < 2 * 1000 + 101 + 100, preads)
    filler:send "\4"
    filler:wait()
  end)
end)
