-- SPDX-License-Identifier: MIT
--
-- The audit: when it looks, what it says where, and how what is known is silenced. Masters of forksafe prefork whose hooks open what
-- an application would.
local ffi = require "ffi"
local prefork = require "containers.prefork_server"
local signal = require "posix.signal"
local support = require "support"

local DATA = support.paths.data .. "/audit"

local function start_echo()
  return support.spawn({ "/usr/bin/python3", DATA .. "/echo.py" }):wait_for "echo (%d+)\n"
end

-- A prefork of one worker whose only script opens things at file level (t.master), with t.keys as further lines of the ini; t.worker
-- runs in PostFork, t.later in the master when a worker is gone, and both return a text for the log.
local function start(t)
  local hook = ([[
local sys = require "sys"
local port = tonumber(forksafe.env "PORT")
MASTER
forksafe.subscribe("ApplicationPostFork", function(event) local text = (function() WORKER end)(); print("worker: " .. tostring(text)) end)
forksafe.subscribe("ApplicationChildExit", function(event) local text = (function() LATER end)(); print("later: " .. tostring(text)) end)
]]):gsub("%u%u%u%u%u+", { MASTER = t.master or "", WORKER = t.worker or "", LATER = t.later or "" })
  local keys = { "lua_libs = full" }
  for _, line in ipairs(t.keys or {}) do
    table.insert(keys, line)
  end
  local ini, directory = prefork.application({ ["shared.lua"] = hook, ["sys.lua"] = support.read(DATA .. "/sys.lua") }, keys)
  for name, text in pairs(t.files or {}) do
    support.write(directory .. "/" .. name, text)
  end
  local server = support.spawn { support.paths.command, "prefork", "--workers=1", ini, env = { PORT = t.port or 0, HERE = directory } }
  server.ini, server.directory = ini, directory
  server:wait_for "worker: [^\n]*\n"
  return server
end

local function findings(server)
  return support.debug(server.ini).findings
end

local function ids(server)
  local list = {}
  for i, finding in ipairs(findings(server)) do
    list[i] = finding.id
  end
  table.sort(list)
  return list
end

-- Ends the worker and waits for what comes after it: the master's hook, and the next worker.
local function next_worker(server, number)
  signal.kill(server:children()[1], signal.SIGKILL)
  support.eventually("worker number " .. number, function()
    return select(2, server:output():gsub("worker: ", "")) == number
  end)
end

-- How often the master was looked at: a number in the journal that no reader shows.
local function looks(server)
  local text = support.read(support.debug(server.ini).masters[1].journal)
  local area = ffi.cast("const uint32_t *", text)[132 / 4]
  return tonumber(ffi.cast("const uint32_t *", ffi.cast("const char *", text) + area)[4])
end

local function said(server)
  return select(2, server:output():gsub("not safe to fork", ""))
end

describe("the audit", function()
  it("finds an io_uring and a device of CUDA", function()
    local device = "/dev/nvidia-of-a-test"
    os.remove(device)
    support.must_run { "/bin/mknod", device, "c", "1", "3" }
    support.defer(function()
      os.remove(device)
    end)
    local server = start { master = "local ring, device = sys.io_uring(), sys.C.open('" .. device .. "', 0)" }
    local expected = { "inherited-device:" .. device, "shared-io_uring" }
    assert.same(expected, ids(server))
    local found = findings(server)
    local one = found[1].id == expected[1] and found[1] or found[2]
    assert.same({ "high", device }, { one.severity, one.path })
  end)

  it("says what a subscriber can ask for, with the line that repairs it", function()
    local port = start_echo()
    local server = start {
      port = port, master = "local fd = sys.connect(port)",
      worker = "local one = event.process:findings()[1] return one.id .. ' ' .. one.shared_by .. ' ' .. one.fix",
    }
    local id = "shared-connection:127.0.0.1:" .. port
    local fix = ('event.process:quarantine{ peer = "127.0.0.1:%s" }'):format(port)
    assert.truthy(server:output():find(("worker: %s 1 %s  --"):format(id, fix), 1, true), server:output())
    local line = server:output():match "forksafe[^\n]+not safe to fork[^\n]+"
    local words = ("a TCP connection to 127.0.0.1:%s is open in the master and its workers (%s, high)"):format(port, id)
    assert.truthy(line:find(words, 1, true), line)
    local metrics = support.must_run { support.paths.command, "debug", "--metrics", server.ini }
    assert.truthy(metrics:find 'forksafe_findings{[^}]+server="prefork",kind="shared%-connection",severity="high"} 1\n')
  end)

  it("looks again when something was opened, and not when nothing was", function()
    local server = start {
      port = start_echo(),
      later = "local file = io.open(forksafe.env 'HERE' .. '/open') if file then file:close() return sys.connect(port) end",
    }
    assert.equal(1, looks(server))
    next_worker(server, 2)
    assert.equal(1, looks(server))
    assert.same({}, ids(server))
    support.write(server.directory .. "/open", "")
    next_worker(server, 3)
    assert.equal(2, looks(server))
    assert.equal(1, #ids(server))
  end)

  it("sees another connection under the number of a former one", function()
    local second = start_echo()
    local server = start {
      port = start_echo(), master = "local fd = sys.connect(port)",
      later = "sys.C.close(fd) sys.connect(" .. second .. ")",
      worker = "return event.process:quarantine { peer = ':" .. second .. "' }",
    }
    assert.truthy(server:output():find("worker: 0\n", 1, true))
    next_worker(server, 2)
    assert.truthy(server:output():find("worker: 1\n", 1, true), server:output())
    assert.same({ 2, 2 }, { looks(server), #ids(server) })
  end)

  it("tells each finding once a generation, and forgets those of the last", function()
    local server = start {
      port = start_echo(), master = "local fd = io.open(forksafe.env 'HERE' .. '/none') and sys.connect(port) or sys.connect(port)",
    }
    assert.equal(1, said(server))
    next_worker(server, 2)
    assert.equal(1, said(server))
    assert.equal(2, findings(server)[1].shared_by)
    support.write(server.directory .. "/hooks/shared.lua", "forksafe.mark_safe { peer = '127.0.0.1:*' }")
    server:signal "HUP"
    support.eventually("the second generation's worker", function()
      return support.debug(server.ini).masters[1].generation == 2 and ids(server)[1] == nil
    end)
    assert.equal(1, said(server))
  end)

  local everything = [[
local fd, loop, event_fd = sys.connect(port), sys.C.epoll_create1(sys.CLOEXEC), sys.C.eventfd(0, 0)
local file = io.open(forksafe.env "HERE" .. "/report.txt", "w")
file:write("begun")
file:flush()
]]

  it("is silent about what is marked as safe at file level", function()
    local server = start {
      port = start_echo(), worker = "return file and fd",
      master = everything .. [[
forksafe.mark_safe { peer = ":" .. port }
forksafe.mark_safe { kind = "shared-epoll" }
forksafe.mark_safe { kind = "shared-eventfd" }
forksafe.mark_safe { path = "*/report.txt" }
forksafe.mark_safe { thread = "telemetry*" }]],
    }
    assert.same({}, ids(server))
    assert.equal(0, said(server))
  end)

  it("is silent about what stands in the baseline, and tells the rest", function()
    local port = start_echo()
    local server = start {
      port = port, master = everything, worker = "return file and fd", keys = { "baseline = known.txt" },
      files = {
        ["known.txt"] = ("# known\n\nshared-connection:*:%s  # the pool closes it\r\n  shared-epoll\nshared-eventfd\n"):format(port),
      },
    }
    assert.same({ "shared-file:" .. server.directory .. "/report.txt" }, ids(server))
  end)

  it("complains of a baseline that cannot be used, and still looks", function()
    local server = start {
      port = start_echo(), master = "local fd = sys.connect(port)", keys = { "baseline = known.txt" },
      files = { ["known.txt"] = "shared-epoll\nshared-luck:*\n" },
    }
    local words = server.directory .. "/known.txt:2: is no id of a finding; write it as `forksafe debug` does"
    assert.truthy(server:output():find(words, 1, true), server:output())
    assert.equal(1, #ids(server))
    local none = start { port = start_echo(), master = "local fd = sys.connect(port)", keys = { "baseline = nowhere.txt" } }
    assert.truthy(none:output():find("/nowhere.txt: forksafe.baseline cannot be read: No such file or directory", 1, true))
    assert.equal(1, #ids(none))
  end)

  it("refuses marks that say nothing", function()
    local server = start {
      worker = "return table.concat(list, ' ')",
      master = [[
local list = {}
for _, wrong in ipairs { {}, { peer = 1 }, { peer = "x", path = "y" }, { kind = "shared-luck" }, { port = 5432 }, "x" } do
  local ok, why = pcall(forksafe.mark_safe, wrong)
  list[#list + 1] = tostring(ok or not why:find("mark_safe"))
end]],
    }
    assert.truthy(server:output():find("worker: " .. ("false "):rep(5) .. "false\n", 1, true), server:output())
  end)

  it("does not look where it is switched off", function()
    local server = start { port = start_echo(), master = "local fd = sys.connect(port)", keys = { "audit = off" },
      worker = "return (select(2, pcall(event.process.quarantine, event.process, { all = true })))" }
    assert.same({ 0, 0, 0 }, { looks(server), #ids(server), said(server) })
    assert.truthy(server:output():find("quarantine: works in a forked worker alone, and with forksafe.audit on", 1, true))
  end)

  it("is read from a damaged journal as far as it can be", function()
    local server = start { port = start_echo(), master = "local fd = sys.connect(port)" }
    local path = support.debug(server.ini).masters[1].journal
    server:stop()
    local text = support.read(path)
    local area = ffi.cast("const uint32_t *", text)[132 / 4]
    local finding = text:find("127.0.0.1:", area, true) - 1 - 40 -- where it begins
    local function changed(offset, bytes)
      local copy = support.write(support.tmpdir() .. "/1-1.journal", text:sub(1, offset) .. bytes .. text:sub(offset + #bytes + 1))
      return support.run { support.paths.command, "debug", copy }
    end
    local endless = changed(area + 8, "\255\255\255\255" .. ("\255"):rep(4))
    assert.equal(0, endless.code, endless.output)
    assert.equal(1, select(2, endless.stdout:gsub('"kind": "shared%-connection"', "")))
    local unknown = changed(finding, "\200\0\0\0") -- a kind of another version
    assert.equal(0, unknown.code)
    assert.is_nil(unknown.stdout:find("shared-connection", 1, true), unknown.stdout:sub(-900))
    local unending = changed(finding + 40, ("A"):rep(240 + 128)) -- no text ends
    assert.equal(0, unending.code, unending.output)
    assert.truthy(unending.stdout:find("shared-connection:" .. ("A"):rep(239) .. '"', 1, true))
    local outside = changed(132, "\255\255\255\127")
    assert.equal(1, outside.code)
    assert.truthy(outside.output:find("is damaged (a part of it lies outside)", 1, true), outside.output)
  end)

  it("keeps 64 findings of more, and tells 16 in the log", function()
    local server = start {
      worker = "return #files",
      master = [[
local files = {}
for i = 1, 80 do
  files[i] = io.open(forksafe.env "HERE" .. "/report." .. i, "w")
  files[i]:write("begun")
  files[i]:flush()
end]],
    }
    assert.equal(64, #ids(server))
    assert.equal(17, said(server))
    assert.truthy(server:output():find("there is more; `forksafe debug` has the list", 1, true))
  end)
end)
