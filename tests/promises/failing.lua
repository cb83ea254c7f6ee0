-- SPDX-License-Identifier: MIT
--
-- Real servers in which one call of forksafe's fails: the Nth that its objects make of libc's functions in the master, or in a worker
-- (failing_calls.c is preloaded). Which calls there are is read from a run in which none fails. Runs in the test process.
local assert = require "luassert"
local fpm = require "support.fpm"
local promises = require "support.promises"
local servers = require "promises.servers"
local said = require "support.server"
local support = require "support"

local M = {}

local MODULE = support.paths.build .. "/tests/promises/failing_calls.so"
local PATIENCE = 40 -- seconds: a worker that could not be told to end is killed after 30
local MOST_LINES = { once = 4, lasting = 12 } -- that a fault may make: no memory for good is one for each script, and more
local AT_A_TIME = promises.number(4, 8) -- servers that run beside each other

-- The second takes so much memory that it is watched by a timer.
local HOOKS = {
  ["postfork.lua"] = "return function(event) forksafe.log.info('hook ran in %d', event.pid) end",
  ["large.postfork.lua"] = "return function() return #('x'):rep(200000) end",
}

---@class Fault one call that fails
---@field role string "master" or "worker"
---@field number integer which call of that process, from 1
---@field name string the function
---@field site string where it is called: "libforksafe.so.0+0x1234"
---@field error integer? an errno; nil: the usual one of the function
---@field reload boolean? it comes in a reload
---@field lasting boolean? from this call on there is no memory, in the workers neither

-- What asks for memory.
local MEMORY = { malloc = true, calloc = true, realloc = true, reallocarray = true, strdup = true, strndup = true, asprintf = true,
  open_memstream = true, mmap = true, mmap64 = true }

local function names_of(set)
  local names = {}
  for name in pairs(set) do
    table.insert(names, name)
  end
  return (" %s "):format(table.concat(names, " "))
end

-- The environment of a server in which this call fails, and the file in which that is written down. No number: none, all are written.
local function environment(container, fault)
  local path = support.write(support.tmpdir() .. "/calls", "", tonumber("666", 8))
  return { LD_PRELOAD = MODULE, FAILING_CALLS = ("%s:%d:%s"):format(fault.role or "master", fault.number or 0, path),
    FAILING_CALLS_ERROR = fault.error and tostring(fault.error), FAILING_CALLS_LASTING = fault.lasting and names_of(MEMORY),
    FAILING_CALLS_COMMAND = container == "prefork" and "1" or nil }, path
end

-- What makes a master load everything anew in the same process.
local RELOADS = { prefork = "HUP", gunicorn = "HUP", nginx = "HUP", apache = "HUP", unicorn = "HUP" }

-- What is no server of servers.start; each with how it is started, and how it is asked.
local others = { ["php-fpm"] = { fpm.start, fpm.workers } }

-- A C program with three workers, which ends by itself.
local function start_program(t)
  local directory = said.application(t.hooks)
  local ini = support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n")
  local server = support.spawn { support.paths.command, "run", ini, "--", support.paths.build .. "/tests/preload_program", "workers:3", "release",
    "reap", env = t.env, cwd = directory }
  server.directory, server.ini, server.ends = directory, ini, true
  return server
end

others.program = { start_program, function(server)
  assert.same({ "exited", 0 }, { server:wait(20) })
end }

local function start(container, fault)
  local env, path = environment(container, fault)
  local t = { hooks = HOOKS, env = env }
  local server = others[container] and others[container][1](t) or servers.start(container, t)
  server.container, server.calls = container, path
  server.stop_seconds = PATIENCE
  return server
end

local function assert_serves(server)
  local other = others[server.container]
  return (other and other[2] or servers.assert_serves)(server)
end

-- The calls that are written down in a file.
local function read_calls(path)
  local calls = {}
  for role, number, name, site in (support.read(path) or ""):gmatch "(%l+) (%d+) (%S+) (%S+) %d+\n" do
    table.insert(calls, { role = role, number = tonumber(number), name = name, site = site })
  end
  return calls
end

-- Whether a line of ours is a hook's, or belongs to the line before it: the traceback of an error.
local function is_no_complaint(line)
  return line:find "^hook ran in" or line:find "^%u%a+ pid=%d+ worker=" or line:find "^stack traceback:" or line:find "^%s"
end

local function without_numbers(line)
  return (line:gsub("%d+", ""))
end

-- The lines in which the library complains, but for those that are usual: a set of lines without their numbers.
local function complaints(log, usual)
  local list = {}
  for instance, line in log:gmatch "forksafe([^%s:]*): ([^\n]*)" do
    if (instance == "" or instance:find "^%[") and not is_no_complaint(line) and not usual[without_numbers(line)] then
      table.insert(list, line)
    end
  end
  return list
end

local function set_of(lines)
  local set = {}
  for _, line in ipairs(lines) do
    set[without_numbers(line)] = true
  end
  return set
end

-- Waits until as many hooks have run as there are workers so far.
local function wait_hooks(server, count)
  support.eventually("all hooks ran", function()
    return said.count(said.log(server), "hook ran in") >= count, said.log(server)
  end)
end

local function begin_reload(server, pids)
  server.reloaded = pids
  server:signal(RELOADS[server.container])
end

-- Whether none of the workers from before the reload answers any more.
local function is_reloaded(server)
  for _, pid in ipairs(assert_serves(server)) do
    if said.has(server.reloaded, pid) then
      return false
    end
  end
  return true
end

--- The calls that a server makes from its start to its end, with a reload where that is in the same process, where none fails: those of
--- the master, and those of the worker that makes most.
---@return Fault[] master
---@return Fault[] worker
---@return table<string, boolean> usual the lines in which it complains all the same, without numbers
function M.calls(container)
  local server = start(container, {})
  local pids, before = assert_serves(server), math.huge
  wait_hooks(server, 3)
  if RELOADS[container] then
    before = said.count(support.read(server.calls), "master %d+ ")
    begin_reload(server, pids)
    wait_hooks(server, 6)
  end
  server:stop()
  local lists = { master = {}, worker = {} }
  for _, call in ipairs(read_calls(server.calls)) do
    call.reload = call.role == "master" and call.number > before or nil
    lists[call.role][call.number] = lists[call.role][call.number] or call
  end
  return lists.master, lists.worker, set_of(complaints(said.log(server), {}))
end

--- Those of the calls that ask for memory, or those that do not.
---@param calls Fault[]
---@param memory boolean
---@return Fault[]
function M.of_kind(calls, memory)
  local list = {}
  for _, call in ipairs(calls) do
    table.insert(list, (MEMORY[call.name] or false) == memory and call or nil)
  end
  return list
end

--- The names of calls with how often there are: "3 open, 1 read".
---@param calls Fault[]
---@return string
function M.told(calls)
  local counts, names, list = {}, {}, {}
  for _, call in ipairs(calls) do
    if not counts[call.name] then
      table.insert(names, call.name)
    end
    counts[call.name] = (counts[call.name] or 0) + 1
  end
  table.sort(names)
  for i, name in ipairs(names) do
    list[i] = counts[name] .. " " .. name
  end
  return table.concat(list, ", ")
end

local function name_of(server, fault)
  local met = read_calls(server.calls)[1] or fault
  return ("%s: call %d of the %s, %s of %s, error %s%s"):format(server.container, fault.number, fault.role, met.name, met.site,
    fault.error or "as usual", fault.lasting and ", for good" or "")
end

-- Waits until the hook ran in so many workers, as the log or the journal tells, or a line says why not.
local function wait_told(server, usual, count)
  support.eventually("hooks ran, or a line says why not", function()
    local log = said.log(server)
    return #complaints(log, usual) > 0 or said.count(log, "hook ran in") >= count
      or #support.pids_of(support.debug(server.ini, { previous = not server:alive() }), "ApplicationPostFork") >= count
  end, 10)
end

-- Whether it is a master of ours that said why it does not start, or why it starts no worker: without memory for good it cannot.
local function refused(server, fault)
  if server.container ~= "prefork" then
    return false
  elseif server:alive() then
    return fault.lasting and said.count(said.log(server), "cannot start: out of memory") > 0
  end
  return server.how == "exited" and server.code ~= 0 and said.count(said.log(server), "hook ran in") == 0
    and said.count(said.log(server), "forksafe") > 0
end

-- What is wrong with a server that has met a fault, or is going to meet one in the reload that begins here; nil.
local function look(server, fault, usual)
  pcall(support.eventually, "it has forked, or ended", function()
    return not server:alive() or #support.children(server.pid) >= 3 or refused(server, fault)
  end, 5)
  if refused(server, fault) then
    return
  end
  if not server:alive() and not server.ends then
    return "it has ended"
  end
  local ok, message = pcall(function()
    local pids = assert_serves(server)
    wait_told(server, usual, 3)
    if fault.reload then
      begin_reload(server, pids)
    end
  end)
  return not ok and tostring(message) or nil
end

-- What is wrong after the reload; nil.
local function look_again(server, fault, usual)
  local ok, message = pcall(function()
    support.eventually("workers after the reload", function()
      return refused(server, fault) or is_reloaded(server), said.log(server)
    end, 20)
    if not refused(server, fault) then
      wait_told(server, usual, 6)
    end
  end)
  return not ok and tostring(message) or nil
end

-- Ends a server that has met a fault: what was wrong with it, or with its end or its log, as a text; nil.
local function judge(server, fault, usual, wrong)
  if server:alive() and not wrong and not server:stop() then
    wrong = "it does not end"
  end
  server.stop_signal = "KILL"
  server:stop()
  local log = said.log(server)
  if not wrong and (#complaints(log, usual) > MOST_LINES[fault.lasting and "lasting" or "once"] or log:find("Traceback (most", 1, true)) then
    wrong = "more than a line"
  end
  return wrong and name_of(server, fault) .. ": " .. wrong .. "\n" .. log
end

--- Runs a server for each fault and judges it: what failed.
---@param container string
---@param faults Fault[]
---@param usual table<string, boolean> as calls() returns it
---@return integer met the faults that met a call
---@return string[] failures
function M.inject(container, faults, usual)
  local met, failures = 0, {}
  for first = 1, #faults, AT_A_TIME do
    local batch = {}
    for i = first, math.min(first + AT_A_TIME - 1, #faults) do
      table.insert(batch, { fault = faults[i], server = start(container, faults[i]) })
    end
    for _, one in ipairs(batch) do
      one.wrong = look(one.server, one.fault, usual)
    end
    for _, one in ipairs(batch) do -- all reload at the same time
      one.wrong = one.wrong or one.server.reloaded and look_again(one.server, one.fault, usual) or nil
      local failure = judge(one.server, one.fault, usual, one.wrong)
      if #read_calls(one.server.calls) > 0 then
        met = met + 1
        table.insert(failures, failure)
      end
    end
  end
  return met, failures
end

return M
