-- SPDX-License-Identifier: MIT
--
-- `forksafe log`: the records of real servers as lines and as JSON, filtered, and followed while workers die and are replaced; after
-- the end; for others who may read; of journals that lie.
local cjson = require "cjson"
local lfs = require "lfs"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local journal = require "support.journal"
local prefork = require "containers.prefork_server"
local support = require "support"

local command = support.paths.command

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    table.insert(lines, line)
  end
  return lines
end

local function log(...)
  return lines_of(support.must_run { command, "log", ... })
end

-- `forksafe log --json`, each line decoded.
local function decoded(text)
  local list = {}
  for _, line in ipairs(lines_of(text)) do
    table.insert(list, cjson.decode(line))
  end
  return list
end

local function json(...)
  return decoded(support.must_run { command, "log", "--json", ... })
end

-- A server all of whose workers have said PostWorkerInit.
local function start(t)
  local server = prefork.start(t)
  prefork.wait_said(server, "PostWorkerInit")
  support.eventually("all have recorded it", function()
    local ended = 0
    for _, record in ipairs(support.records_of(support.debug(server.pid), "ApplicationPostWorkerInit")) do
      ended = ended + (record.outcome ~= "running" and 1 or 0)
    end
    return ended >= server.workers
  end)
  return server
end

-- `forksafe log -f` that runs; returns when it has looked for the first time.
local function follow(...)
  local process = support.spawn { command, "log", "--follow", "-n", "all", ..., stop_signal = "INT" }
  process:wait_for "ApplicationMasterReady"
  return process
end

local function refuses(code, text, ...)
  local result = support.run { command, "log", ... }
  assert.same({ code, "" }, { result.code, result.stdout }, result.stderr)
  assert.equal("forksafe log: " .. text, result.stderr:sub(1, 14 + #text))
end

-- Waits for text, not for a pattern.
local function wait_for_text(process, text)
  process:wait_for((text:gsub("%p", "%%%0")))
end

-- A time of the debug object as microseconds of its day; `east` in seconds.
local function microseconds(at, east)
  local h, m, s, us = at:match "(%d%d):(%d%d):(%d%d)%.(%d%d%d%d%d%d)"
  return ((h * 3600 + m * 60 + s + (east or 0)) % 86400) * 1000000 + us
end

-- Lists of records are the same but for what the commands' clocks differ in.
local function assert_same_records(expected, list)
  assert.equal(#expected, #list)
  for i, record in ipairs(list) do
    local difference = math.abs(microseconds(expected[i].at) - microseconds(record.at))
    assert.is_true(difference <= 2 or difference >= 86399999998, expected[i].at .. " " .. record.at)
    expected[i].at, record.at = nil, nil
    assert.same(expected[i], record)
  end
end

local FAILS_IN_2 = [[return function(event) if event.worker == 2 then error("no database\nin sight") end end]]
-- Lasts as long as its worker lets it: until the file is gone, or its process killed.
local LASTS = [[
local ffi = require "ffi"
ffi.cdef "int access(const char *path, int mode); int usleep(unsigned us);"
return function()
  while ffi.C.access("%s", 0) == 0 do ffi.C.usleep(10000) end
end
]]
local UNBOUNDED = { "lua_libs = full", "time_limit = 0" }

local function lasting()
  local lock = support.write(support.tmpdir() .. "/lock", "")
  return { workers = 1, hooks = { ["10-lasting.postfork.lua"] = LASTS:format(lock) }, keys = UNBOUNDED }, lock
end

describe("forksafe log", function()
  it("prints the records of the debug object, oldest first, a line each, in local time", function()
    local server = start { workers = 2, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local records = support.debug(server.pid).records
    local lines = lines_of(support.must_run { command, "log", server.ini, env = { TZ = "HERE-5:30" } })
    assert.equal(#records, #lines)
    for i, record in ipairs(records) do
      local date, time, pid, who, event, rest = lines[i]:match "^(%d+%-%d%d%-%d%d) (%d%d:%d%d:%d%d%.%d+) +(%d+) (%S+) +(%S+) +(.*)$"
      assert.truthy(date, lines[i])
      local difference = math.abs(microseconds(record.at, 19800) - microseconds(time))
      assert.is_true(difference <= 2 or difference >= 86399999998, lines[i] .. record.at)
      local slot = record.role == "worker" and "worker/" .. record.worker or record.role
      assert.same({ record.pid, slot, record.event }, { tonumber(pid), who, event })
      local subscriber = record.subscriber == support.null and "-" or record.subscriber
      assert.equal(subscriber, rest:sub(1, #subscriber))
      local outcome, duration = rest:sub(#subscriber + 1):match "^ +(%a+) +([%d.]+[nmu]?s)"
      assert.equal(record.outcome, outcome)
      local value, unit = duration:match "([%d.]+)(%a+)"
      local seconds = value * ({ ns = 1e-9, us = 1e-6, ms = 1e-3, s = 1 })[unit]
      assert.is_true(math.abs(seconds - record.duration) <= record.duration * 0.06, lines[i] .. record.duration)
    end
  end)

  it("prints with --json the debug object's records, one object a line, and the instance", function()
    local server = start { workers = 2, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local debug = support.debug(server.pid)
    for _, record in ipairs(debug.records) do
      record.instance = debug.instance
    end
    assert_same_records(debug.records, json(server.ini))
  end)

  it("shows the first line of an error, with --errors all of it and its traceback", function()
    local server = start { workers = 2, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local script = server.ini:gsub("app.ini$", "hooks/postfork.lua")
    local first, whole = log("--outcome=error", server.ini), log("--outcome=error", "--errors", server.ini)
    assert.equal(1, #first)
    assert.equal(script .. ":1: no database", first[1]:match "error +[%d.]+[um]s  (.*)$")
    assert.same({ first[1], "    in sight", "    stack traceback:" }, { whole[1], whole[2], whole[3] })
    assert.truthy(whole[4]:find "^        %S")
    local records = json("--errors", "--event=PostFork", server.ini)
    local failed = 0
    for _, record in ipairs(records) do
      if record.outcome == "error" then
        failed = failed + 1
        assert.equal(script .. ":1: no database\nin sight\nstack traceback:", record.error:match "^[^\n]+\n[^\n]+\n[^\n]+")
      else
        assert.equal(support.null, record.error)
      end
    end
    assert.equal(1, failed)
  end)

  it("shows only what the filters let through", function()
    local server = start { workers = 3, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local debug = support.debug(server.pid)
    local workers = server:children()
    local function check(takes, ...)
      local expected = {}
      for _, record in ipairs(debug.records) do
        if takes(record) then
          record = cjson.decode(cjson.encode(record))
          record.instance = debug.instance
          table.insert(expected, record)
        end
      end
      assert.is_true(#expected > 0 and #expected < #debug.records)
      assert_same_records(expected, json(...))
    end
    for _, name in ipairs { "ApplicationPostFork", "PostFork", "postfork", "APPLICATIONPOSTFORK" } do
      check(function(r) return r.event == "ApplicationPostFork" end, "--event", name, server.ini)
    end
    check(function(r) return r.event == "ApplicationPostFork" or r.event == "ApplicationPreFork" end,
      "--event=PreFork", "--event=PostFork", server.ini)
    check(function(r) return r.pid == workers[2] end, "--pid", tostring(workers[2]), server.ini)
    check(function(r) return r.pid ~= server.pid end, "--pid=" .. workers[1], "--pid=" .. workers[2], "--pid=" .. workers[3], server.ini)
    check(function(r) return r.subscriber == "postfork" end, "--subscriber=postfork", server.ini)
    check(function(r) return r.subscriber == "say PostFork" or r.subscriber == "say PreFork" end, "--subscriber=say P*Fork", server.ini)
    check(function(r) return r.outcome == "error" end, "--outcome=error", server.ini)
    check(function(r) return r.outcome == "error" end, "--outcome=failed", server.ini)
    check(function(r) return r.outcome == "ok" end, "--outcome=ok", "--outcome=timeout", server.ini)
    check(function(r) return r.outcome == "ok" and r.subscriber == "postfork" and r.pid ~= workers[1] end,
      "--outcome=ok", "--subscriber=postfork", "--pid=" .. workers[2], "--pid=" .. workers[3], server.ini)
    assert.same({}, log("--subscriber=nobody", server.ini)) -- may come with a reload
    refuses(2, "--event: there is no event 'PostFrok'; there are MasterReady, PreFork", "--event=PostFrok")
    refuses(2, "--outcome: there is no outcome 'bad'; there are ok, error", "--outcome=bad")
    for _, pid in ipairs { "0", "-1", "x", "12x", "", "99999999999" } do
      refuses(2, "--pid: '" .. pid .. "' is no process id", "--pid=" .. pid)
    end
  end)

  it("shows the newest N, after the filters", function()
    local server = start { workers = 2 }
    local all = json(server.ini)
    assert_same_records({ all[#all - 1], all[#all] }, json("-n", "2", server.ini))
    assert.same({}, log("-n0", server.ini))
    assert.equal(#all, #log("--lines=all", server.ini))
    assert.equal(#all, #log("-n", "999999", server.ini))
    assert.equal("ApplicationMasterReady", json("-n1", "--event=MasterReady", server.ini)[1].event)
    refuses(2, "-n: 'few' is neither a number nor", "-n", "few")
  end)

  it("shows what began at a time or later, as people write times", function()
    local server = start { workers = 1 }
    local before = #json(server.ini)
    support.sleep(0.05)
    local since = os.time() + 1
    support.eventually("the next second", function() return os.time() >= since end)
    signal.kill(server:children()[1], signal.SIGKILL)
    prefork.wait_said(server, "PostWorkerInit", 2)
    local all = #json(server.ini)
    local new = all - before
    assert.is_true(new >= 4)
    local function count(word, zone)
      return #lines_of(support.must_run { command, "log", "--since", word, server.ini, env = { TZ = zone or "HERE-5:30" } })
    end
    local there = since + 19800 -- local time there, as UTC would say it
    assert.equal(new, count("@" .. since))
    assert.equal(new, count(os.date("!%Y-%m-%dT%H:%M:%SZ", since)))
    assert.equal(new, count(os.date("!%Y-%m-%d %H:%M:%S", there)))
    assert.equal(new, count(os.date("!%Y-%m-%d %H:%M:%S.000", since), "UTC0"))
    assert.equal(new, count(os.date("!%Y-%m-%dT%H:%M:%S+05:30", there), "UTC0"))
    for _, word in ipairs { "1h", "2d", "1w", "0.5h", "@0", "1999-12-31", "2001-02-03 04:05" } do
      assert.equal(all, count(word), word)
    end
    for _, word in ipairs { "0s", "2099-01-01", "@9000000000" } do
      assert.equal(0, count(word), word)
    end
    local late = os.date("!*t", there + 60)
    if late.hour > 0 or late.min > 3 then -- not around midnight there
      assert.equal(all, count "00:00")
      assert.equal(0, count(os.date("!%H:%M:%S", there + 100)))
    end
    for _, word in ipairs { "", "yesterday", "12", "10x", "-5m", "25:00", "12:60", "2026-13-01", "2026-01-01 ", "2026-01-01 1", "@", "@x", "1e99d", "@99999999999999999999", "12:00Z" } do
      refuses(2, "--since: '" .. word .. "' is no time", "--since", word)
    end
  end)

  it("follows: records come as a worker is killed and replaced, in their order", function()
    local server = start { workers = 2 }
    local live = follow(server.ini)
    local had = #lines_of(live:stdout())
    local killed = server:children()[1]
    signal.kill(killed, signal.SIGKILL)
    live:wait_for("say ChildExit +ok +%S+  child " .. killed .. " %(worker/1%) ended by SIGKILL")
    prefork.wait_said(server, "PostWorkerInit", 3)
    local new = server:children()
    local pid = new[1] == killed and new[2] or math.max(new[1], new[2])
    live:wait_for(pid .. " worker/1 +ApplicationPostWorkerInit +say PostWorkerInit +ok")
    local events = {}
    for i, line in ipairs(lines_of(live:stdout())) do
      if i > had then
        table.insert(events, line:match "Application(%a+)")
      end
    end
    assert.same({ "ChildExit", "PreFork", "PostFork", "PostWorkerInit" }, events)
    assert.equal("", live:stderr())
    -- Everything once, as without -f.
    assert.same(log(server.ini), lines_of(live:stdout()))
  end)

  it("follows: shows a run that lasts when it begins, and again when it ends", function()
    local t, lock = lasting()
    local server = prefork.start(t)
    support.eventually("the journal", function()
      return support.run({ command, "log", tostring(server.pid) }).code == 0
    end)
    local live = follow("--json", server.ini)
    live:wait_for '"subscriber":"10%-lasting%.postfork"'
    assert.equal("running", json("--subscriber=10-lasting.postfork", server.ini)[1].outcome)
    os.remove(lock)
    live:wait_for '"subscriber":"10%-lasting%.postfork","outcome":"ok"'
    local runs = {}
    for _, record in ipairs(decoded(live:stdout())) do
      if record.subscriber == "10-lasting.postfork" then
        table.insert(runs, record)
      end
    end
    assert.equal(2, #runs)
    assert.same({ "running", support.null, "ok" }, { runs[1].outcome, runs[1].duration, runs[2].outcome })
    assert.same({ runs[1].pid, runs[1].at }, { runs[2].pid, runs[2].at })
    assert.is_true(runs[2].duration > 0)
  end)

  it("follows: a run whose process is killed in it is unfinished", function()
    local t, lock = lasting()
    local server = prefork.start(t)
    support.eventually("the journal", function()
      return support.run({ command, "log", tostring(server.pid) }).code == 0
    end)
    local live = support.spawn { command, "log", "-f", "--subscriber=*lasting*", server.ini, stop_signal = "INT" }
    local pid = live:wait_for "(%d+) worker/1 +ApplicationPostFork +10%-lasting%.postfork +running +%-"
    signal.kill(tonumber(pid), signal.SIGKILL)
    live:wait_for(pid .. " worker/1 +ApplicationPostFork +10%-lasting%.postfork +unfinished +%-\n")
    assert.truthy(log("--outcome=failed", "--pid=" .. pid, server.ini)[1]:find("unfinished", 1, true))
    os.remove(lock)
  end)

  it("follows: goes on with the next master, and says so", function()
    local server = start { workers = 1 }
    local live = follow(tostring(server.pid)) -- a pid means its instance from then on
    local instance = support.debug(server.pid).instance
    assert.equal(0, prefork.finish(server))
    wait_for_text(live, instance .. ": master " .. server.pid .. " has ended\nforksafe log: waiting for the next master\n")
    live:wait_for(server.pid .. " master +ApplicationShutdown +say Shutdown +ok")
    local second = start { ini = server.ini, workers = 1 }
    wait_for_text(live, instance .. ": following master " .. second.pid .. "\n")
    live:wait_for(second.pid .. " master +ApplicationMasterReady +say MasterReady +ok")
    live:wait_for(second:children()[1] .. " worker/1 +ApplicationPostWorkerInit")
    signal.kill(second.pid, signal.SIGKILL)
    live:wait_for("master " .. second.pid .. " has ended\n")
  end)

  it("follows: waits for the first master of an ini", function()
    local ini = prefork.application()
    local live = support.spawn { command, "log", "-f", ini, stop_signal = "INT" }
    live:wait_for "^forksafe log: waiting for a master: .*has not been started"
    local server = start { ini = ini, workers = 1 }
    live:wait_for(server:children()[1] .. " worker/1 +ApplicationPostFork +say PostFork +ok")
    refuses(3, "no such instance: 'nobody'", "-f", "nobody")
    refuses(1, support.runtime_dir() .. "/none.ini: there is no such file", "-f", support.runtime_dir() .. "/none.ini")
    refuses(2, "--previous and --follow exclude each other", "-f", "--previous", ini)
  end)

  it("follows: begins with ten records, unless told otherwise", function()
    local server = start { workers = 4 }
    for arguments, count in pairs { [{ "-f" }] = 10, [{ "-f", "-n3" }] = 3, [{ "-f", "--since=1h" }] = #log(server.ini) } do
      local live = support.spawn { command, "log", server.ini, stop_signal = "INT", unpack(arguments) }
      support.eventually(count .. " lines", function()
        return #lines_of(live:stdout()) == count, live:output()
      end)
    end
  end)

  it("follows: streams into a pipe, and ends with its reader or at Ctrl-C without a word", function()
    local server = start { workers = 1 }
    local result = support.run { "bash", "-c", command .. " log -f " .. server.ini .. " | head -n 1; echo ${PIPESTATUS[0]}" }
    assert.same({ "", 2 }, { result.stderr, #lines_of(result.stdout) })
    local live = support.spawn { "sh", "-c", "exec " .. command .. " log -n all -f " .. server.ini .. " | cat" }
    live:wait_for "PostWorkerInit"
    local other = follow(server.ini)
    other:signal "INT"
    assert.same({ "killed", signal.SIGINT }, { other:wait() })
    assert.equal("", other:stderr())
    signal.kill(server:children()[1], signal.SIGKILL)
    live:wait_for "ended by SIGKILL"
  end)

  it("follows: says how many records were overwritten before they could be shown", function()
    local j = journal.open { records = 4 }
    j:hook "h"
    local subscriber = j:subscriber "busy"
    j:run(subscriber, { role = journal.MASTER })
    local live = support.spawn { command, "log", "-f", j:path(), stop_signal = "INT" }
    live:wait_for "busy"
    live:signal "STOP"
    for _ = 1, 20 do
      j:run(subscriber, { role = journal.MASTER })
    end
    live:signal "CONT"
    live:wait_for "forksafe log: 16 records were overwritten before they could be shown"
    support.eventually("the four that are left", function()
      return #lines_of(live:stdout()) == 5, live:stdout()
    end)
  end)

  it("follows: a subscriber that a reload has brought has its name", function()
    local server = start { workers = 1 }
    local live = follow(server.ini)
    support.write((server.ini:gsub("app.ini$", "hooks/brand-new.lua")),
      [[forksafe.subscribe("ApplicationPostFork", function() end, { name = "brand new" })]])
    server:signal "HUP"
    live:wait_for "worker/1 +ApplicationPostFork +brand new +ok"
  end)

  it("shows with --previous, or by the journal, what a dead master and its workers left", function()
    local server = start { workers = 2, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local path, records = support.debug(server.pid).masters[1].journal, json(server.ini)
    local pids = server:children()
    signal.kill(server.pid, signal.SIGKILL)
    server:wait()
    support.eventually("its workers are gone", function()
      return not support.alive(pids[1]) and not support.alive(pids[2])
    end)
    refuses(3, server.ini .. ": no master lives; add --previous", server.ini)
    for _, arguments in ipairs { { "--previous", server.ini }, { path } } do
      local left = json(unpack(arguments))
      assert.is_true(#left >= #records)
      assert_same_records(cjson.decode(cjson.encode(records)), { unpack(left, 1, #records) })
    end
  end)

  it("serves a member of the journal's group, and nobody else", function()
    local server = start { workers = 2, keys = { "journal_group = www-data" } }
    for _, path in ipairs { support.runtime_dir():match "^(.*)/", (server.ini:match "^(.*)/") } do
      stat.chmod(path, 493)
    end
    local function member(gid, option)
      return { "setpriv", "--reuid=65534", "--regid=" .. gid, "--clear-groups", command, "log", server.ini, option, stop_signal = "INT" }
    end
    assert.same(log(server.ini), lines_of(support.must_run(member(33))))
    support.spawn(member(33, "-f")):wait_for "PostWorkerInit"
    local denied = support.run(member(65534))
    assert.same({ 4, "" }, { denied.code, denied.stdout })
    assert.truthy(denied.stderr:find("permission denied; be the server's user", 1, true))
  end)

  it("names the instance where there are several", function()
    local one, other = start { workers = 1 }, start { workers = 1 }
    assert.truthy(log(one.ini)[1]:find "^%d%d%d%d%-")
    local seen = {}
    for _, line in ipairs(lines_of(support.must_run { "unshare", "--mount", "sh", "-c",
      'mount -t tmpfs x /run && mount -t tmpfs x /dev/shm && exec "$@"', "sh", command, "log" })) do
      local instance, pid = line:match "^(%S+) +%d%d%d%d%-%S+ %S+ +(%d+) master"
      if instance then
        seen[tonumber(pid)] = instance
      end
    end
    assert.same({ [one.pid] = support.debug(one.ini).instance, [other.pid] = support.debug(other.ini).instance }, seen)
  end)

  it("is in colour on a terminal only, and not where NO_COLOR is set", function()
    local server = start { workers = 1 }
    local function is_coloured(t)
      local process = support.spawn { command, "log", server.ini, t.option, env = t.env, pty = t.pty }
      assert.same({ "exited", 0 }, { process:wait() })
      assert.truthy(process:output():find("MasterReady", 1, true))
      return process:output():find("\27[32mok\27[0m", 1, true) ~= nil
    end
    local xterm = { TERM = "xterm", NO_COLOR = false }
    assert.is_false(is_coloured { env = xterm })
    assert.is_true(is_coloured { env = xterm, pty = true })
    assert.is_false(is_coloured { env = { TERM = "xterm", NO_COLOR = "1" }, pty = true })
    assert.is_true(is_coloured { env = { NO_COLOR = "1" }, option = "--color=always" })
    assert.is_false(is_coloured { env = xterm, pty = true, option = "--color=never" })
    refuses(2, "--color: 'sometimes' is none of auto, always, never", "--color=sometimes")
  end)

  it("shows names and errors with terminal escapes harmlessly", function()
    local server = start { workers = 1, hooks = { ["evil.lua"] = [[
      forksafe.subscribe("ApplicationPostFork", function() error("\27[31mred\r\194\155\nsecond\226\128\174\255") end,
        { name = "\27[2Jevil\226\128\174\nname \195\164" })]] } }
    local text = support.must_run { command, "log", "--errors", "--outcome=error", server.ini, "--color=never" }
    assert.is_nil(text:find "[%z\1-\9\11-\31\127\155\174\255]")
    assert.truthy(text:find("\\x1b[2Jevil\\xe2\\x80\\xae\\x0aname \195\164", 1, true), text)
    assert.truthy(text:find("\\x1b[31mred\\x0d\\xc2\\x9b\n    second\\xe2\\x80\\xae", 1, true), text)
    local plain = support.must_run { command, "log", "--outcome=error", server.ini, env = { LC_ALL = "C" } }
    assert.truthy(plain:find("name \\xc3\\xa4", 1, true), plain)
    assert.equal(1, #lines_of(plain))
    assert.is_nil(support.must_run({ command, "log", "--json", "--errors", server.ini }):find "[%z\1-\9\11-\31\127\155\174\255]")
  end)

  it("survives journals that lie, also while it follows them", function()
    local server = start { workers = 2, hooks = { ["postfork.lua"] = FAILS_IN_2 } }
    local path = support.debug(server.ini).masters[1].journal
    local text = support.read(path)
    local liar = support.tmpdir() .. "/liar.journal"
    math.randomseed(11)
    local codes = {}
    for round = 1, 60 do
      local bytes, used = text, 16384 + 4 * 4096
      for _ = 1, 12 do
        local at = round % 2 == 0 and math.random(17, 328) or math.random(329, used)
        bytes = bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1)
      end
      support.write(liar, round % 10 == 0 and bytes:sub(1, math.random(1, #bytes)) or bytes)
      for _, option in ipairs { "--errors", "--json" } do
        local result = support.run { command, "log", option, liar }
        assert.truthy(result.code == 0 or result.code == 1 or result.code == 5, ("round %d: %s %s"):format(round, result.code, result.signal))
        assert.is_nil(result.output:find "[%z\1-\9\11-\31\127]", "round " .. round)
        codes[result.code] = true
      end
    end
    assert.is_true(codes[0] and codes[1])
    -- It becomes shorter, and is gone.
    support.write(liar, text)
    local live = support.spawn { command, "log", "-n", "all", "-f", liar, stop_signal = "INT" }
    live:wait_for "MasterReady"
    support.write(liar, text:sub(1, 9000))
    wait_for_text(live, liar .. ": is damaged")
    os.remove(liar)
    support.sleep(0.7)
    assert.is_true(live:alive())
    assert.equal(2, #lines_of(live:stderr())) -- and not at each look
  end)

  it("does not count for ever where a slot claims that its newest record is the last number there is", function()
    local j = journal.open { max_workers = 2, records = 4 }
    j:hook "h"
    j:run(j:subscriber "one", { role = journal.MASTER })
    local path = j:path()
    local live = support.spawn { command, "log", "-n", "all", "-f", path, stop_signal = "INT" }
    live:wait_for "one"
    local text = support.read(path)
    local ffi = require "ffi"
    local header = ffi.cast("const uint64_t *", text)
    local number = ("\1" .. ("\0"):rep(7))
    -- last_sequence of the first slot: the only 1 at its place; the layout says where slots begin.
    local slots = tonumber(header[184 / 8])
    local at = slots + 48 + 1
    assert.equal(number, text:sub(at, at + 7))
    local file = assert(io.open(path, "r+b"))
    file:seek("set", at - 1)
    file:write(("\255"):rep(8))
    file:close()
    assert.equal(0, support.run({ command, "log", path, timeout = 5 }).code)
    support.sleep(0.5)
    live:signal "INT"
    assert.same({ "killed", signal.SIGINT }, { live:wait(2) })
  end)

  it("uses the exit codes of all commands, and explains itself", function()
    local run = support.runtime_dir()
    refuses(3, "no such instance: 'nobody'; searched: " .. run, "nobody")
    refuses(2, "one TARGET at most; 'b' is another", "a", "b")
    refuses(1, run .. "/none.ini: there is no such file", run .. "/none.ini")
    local server = start { workers = 1 }
    local path = support.debug(server.ini).masters[1].journal
    local text = support.read(path)
    local other = support.write(support.tmpdir() .. "/other.journal", text:sub(1, 16) .. "\9\0\0\0" .. text:sub(21))
    refuses(5, other .. ": is a journal of version 9", other)
    refuses(5, other .. ": is a journal of version 9", "-f", other)
    for _, option in ipairs { "--errors", "--json", "-f" } do
      local full = support.run { "sh", "-c", command .. " log " .. option .. " " .. server.ini .. " > /dev/full" }
      assert.same({ 1, "forksafe log: standard output cannot be written to\n" }, { full.code, full.stderr })
    end
    local help = support.must_run { command, "log", "--help" }
    for _, word in ipairs { "--follow", "--event", "--subscriber", "--pid", "--outcome", "--since", "--lines", "--json", "--errors",
      "--previous", "--color", "Exit codes:" } do
      assert.truthy(help:find(word, 1, true), word)
    end
    assert.truthy(support.must_run({ command, "--help" }):find("forksafe log ", 1, true))
    assert.truthy(lfs.attributes(run))
  end)
end)
