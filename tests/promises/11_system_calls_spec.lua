-- SPDX-License-Identifier: MIT
--
-- Promise 11: a failing system call never reaches the host. Each call that the library makes in a real master (opening, reading, making and
-- mapping its files, looking at /proc) fails once, with each of six errors, injected by strace: the server still starts, serves and ends
-- well, and the fault is a line or harmless. Also those that libc makes for it, which 11_each_call_spec.lua cannot reach.
local signal = require "posix.signal"
local promises = require "support.promises"
local servers = require "promises.servers"
local said = require "support.server"
local scripts = require "support.scripts"
local support = require "support"

local ERRORS = { "EINTR", "ENOSPC", "EMFILE", "EIO", "ENOMEM", "EACCES" }
local AT_A_TIME = 4 -- servers beside each other
local HOOK = { ["postfork.lua"] = "return function(event) forksafe.log.info('hook ran in %d', event.pid) end" }
local TRACED = "trace=openat,read,newfstatat,statfs,fstatfs,mkdir,mkdirat,unlinkat,fallocate,mmap,fchown,fchmod,renameat2,flock,getdents64,"
  .. "readlink,readlinkat,faccessat2,fcntl,lseek,pread64,prlimit64"

-- Whether a line of a trace is about the application's directory, the journal, LuaJIT or /proc: then the call is the library's own.
local function is_ours(line, master, directory)
  for _, text in ipairs { directory .. "/hooks", "/production.ini", "libluajit", support.runtime_dir(), "/proc/self/fd", "/proc/self/status",
    "/proc/self/task", "boot_id", "/proc/" .. master .. "/" } do
    if line:find(text, 1, true) then
      return true
    end
  end
  return false
end

-- The calls in a trace of a server's start that are the library's own; each as { name, number }, the how many'th of its name it is in
-- the master.
local function own_calls(text, directory)
  local counts, calls, master = {}, {}, text:match "^(%d+)"
  for line in text:gmatch("%f[^\n%z]" .. master .. " +([^\n]+)") do
    local name = line:match "^([%w_]+)%("
    if name then
      counts[name] = (counts[name] or 0) + 1
      table.insert(calls, is_ours(line, master, directory) and { name = name, number = counts[name] } or nil)
    end
  end
  return calls
end

-- Whether the fault in a trace met a call of ours in the master. Where the calls before it were others than in the first trace, as they may
-- be, it meets somebody else's, and what comes of that is nobody's promise.
local function met(text, directory)
  local master = text:match "^(%d+)"
  for line in text:gmatch "[^\n]+" do
    if line:find("(INJECTED)", 1, true) and not (line:match "^(%d+)" == master and is_ours(line, master, directory)) then
      return false
    end
  end
  return text:find("(INJECTED)", 1, true) ~= nil
end

-- Those of the calls that this form takes, each with its errors.
local function faults(calls, number)
  local list = {}
  for i = 1, #calls do
    for e = 0, math.ceil(number) - 1 do
      if number >= 1 or math.floor(i * number) > math.floor((i - 1) * number) then
        table.insert(list, { call = calls[i], error = ERRORS[(i + e) % #ERRORS + 1] })
      end
    end
  end
  return list
end

local function name_of(fault)
  return ("%s, the %dth %s"):format(fault.error, fault.call.number, fault.call.name)
end

-- Lines of the library that are neither a hook's nor a line of a start without faults.
local function complaints(log)
  local list = {}
  for line in log:gmatch "forksafe%[[%w.-]+%]: ([^\n]*)" do
    if not line:find "^hook ran in" and not line:find "^%u%a+ pid=%d+ worker=" then
      table.insert(list, line)
    end
  end
  return list
end

-- The hook ran in all workers, or a line says why not; and there are few lines.
local function assert_told(log, workers, fault)
  local told = complaints(log)
  local ran = said.count(log, "hook ran in")
  assert.is_true(ran == workers or #told > 0, name_of(fault) .. ": the hook ran " .. ran .. " times\n" .. log)
  assert.is_true(#told <= 4, name_of(fault) .. "\n" .. log)
end

-- Lets a server go on without its tracer, so that the fault stays the only one: in each worker the calls are counted anew.
local function end_tracer(server)
  local tracer = tonumber((support.read("/proc/" .. server.pid .. "/status") or ""):match "TracerPid:%s+(%d+)")
  if tracer and tracer > 0 then
    signal.kill(tracer, signal.SIGTERM)
    support.eventually("the tracer has gone", function()
      return not support.alive(tracer)
    end)
  end
end

-- strace's options for a fault.
local function injection(fault)
  return { "-e", "trace=" .. fault.call.name, "-e", ("inject=%s:error=%s:when=%d"):format(fault.call.name, fault.error, fault.call.number) }
end

-- A server for each fault, some beside each other. start(options) starts one under strace; judge(server, fault) waits for what comes
-- of it, and returns the log where the fault was met.
local function inject_all(what, calls, number, workers, start, judge)
  local list, hit = faults(calls, number), 0
  for first = 1, #list, AT_A_TIME do
    local batch = {}
    for i = first, math.min(first + AT_A_TIME - 1, #list) do
      table.insert(batch, { fault = list[i], server = start(injection(list[i])) })
    end
    for _, one in ipairs(batch) do
      local log = judge(one.server, one.fault)
      if log then
        assert_told(log, workers, one.fault)
        hit = hit + 1
      end
    end
  end
  print(("        %s: %d calls of ours, %d faults, %d of them met"):format(what, #calls, #list, hit))
  assert.is_true(hit >= #list * 0.5)
end

-- argv with strace and its options in front, and where the trace will be.
local function traced(options, argv)
  local path = support.tmpdir() .. "/trace"
  local all = { "/usr/bin/strace", "-f", "-y", "-qq", "-s", "16", "-o", path }
  for _, list in ipairs { options, argv } do
    for _, word in ipairs(list) do
      table.insert(all, word)
    end
  end
  return all, path
end

-- Two workers of `forksafe prefork`, which end by themselves.
local function start_prefork(options)
  local ini, directory = scripts.application(HOOK)
  local argv, path = traced(options, { support.paths.command, "prefork", "--workers", "2", "--once", ini })
  local server = support.spawn(argv)
  server.directory, server.trace = directory, path
  return server
end

local function judge_prefork(server, fault)
  local how, code = server:wait(60)
  if met(support.read(server.trace), server.directory) then
    assert.same({ "exited", 0 }, { how, code }, name_of(fault) .. "\n" .. server:output())
    return server:stderr()
  end
end

-- The tracer is a grandchild: the server keeps its pid.
local function start_in(container, options)
  local wrap, path = traced(options, {})
  table.insert(wrap, 2, "-D")
  table.insert(wrap, 3, "-I2")
  local server = servers.start(container, { hooks = HOOK, wrap = wrap, plain = true }) -- nobody else reads the ini
  server.trace = path
  return server
end

local function judge_server(server, fault)
  support.eventually("the fault", function()
    local text = support.read(server.trace) or ""
    return text:find("(INJECTED)", 1, true) or #said.said(server, "PostFork") == 3 or not server:alive()
  end, 20)
  end_tracer(server)
  local met_it = met(support.read(server.trace) or "", server.directory)
  if met_it then
    servers.assert_serves(server)
    support.eventually("it is told", function()
      return pcall(assert_told, said.log(server), 3, fault)
    end)
  end
  local log = said.log(server)
  assert.is_true(server:stop() or not met_it)
  return met_it and log
end

describe("promise 11: with every system call failing,", function()
  promises.it(11, { "prefork", "library" }, "forksafe prefork starts its workers, says what failed and ends well", function()
    local server = start_prefork { "-e", TRACED }
    server:wait(60)
    assert.equal(2, said.count(server:stderr(), "hook ran in"), server:output())
    local calls = own_calls(support.read(server.trace), server.directory)
    inject_all("forksafe prefork", calls, promises.number(1, 6), 2, start_prefork, judge_prefork)
  end)

  for _, container in ipairs(promises.LONG and { "uwsgi", "gunicorn", "nginx", "preload" } or {}) do
    promises.it(11, container, container .. " serves, and says what failed", function()
      local server = start_in(container, { "-e", TRACED })
      servers.wait_started(server)
      server:stop()
      local function start(options)
        return start_in(container, options)
      end
      inject_all(container, own_calls(support.read(server.trace), server.directory), 1, 3, start, judge_server)
    end)
  end
end)
