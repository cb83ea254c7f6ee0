-- SPDX-License-Identifier: MIT
--
-- Scripts that do not end by themselves, each in another way, for 01_runaway_spec.lua: bodies of a hook, by name. What is told of each is
-- its outcome; `timeout` where nothing is.
local M = {}

local ROWS = {
  { "a loop", "while true do end" },
  { "a loop that repeats", "local n = 0 repeat n = n + 1 until n < 0" },
  { "a loop that counts", "local n = 0 for i = 1, 1e18 do n = n + i end" },
  { "a goto", "::again:: goto again" },
  { "tail calls", "local function f() return f() end f()" },
  { "an iterator that never ends", "for _ in function() return 1 end do end" },
  { "loops in pcall in a loop", "while true do pcall(function() while true do end end) end" },
  { "a loop of pcalls that fail", "while true do pcall(error) end" },
  { "pcalls in pcalls", "local function f() pcall(f) f() end while true do pcall(f) end" },
  { "a loop in a coroutine", "coroutine.wrap(function() while true do end end)()" },
  { "coroutines without end", "while true do coroutine.wrap(function() coroutine.yield() end)() end", { timeout = true, memory = true } },
  { "a coroutine in pcall", "while true do pcall(coroutine.wrap(function() while true do pcall(error) end end)) end" },
  { "coroutines that resume", "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do c() end" },
  { "a handler that loops", "xpcall(error, function() while true do end end)" },
  { "a handler that throws", "while true do xpcall(error, function() error() end) end" },
  { "a handler that catches", "xpcall(error, function() while true do pcall(error) end end)" },
  { "a finalizer", "local p = newproxy(true) getmetatable(p).__gc = function() while true do end end", { error = true } },
  { "a finalizer of a table", "setmetatable({}, { __gc = function() while true do end end }) while true do local t = {} end" },
  { "string.find", "(('a'):rep(2000)):find(('a-'):rep(30) .. 'b')" },
  { "string.match", "(('a'):rep(2000)):match(('(a*)'):rep(30) .. 'b')" },
  { "string.gmatch", "for _ in (('a'):rep(2000)):gmatch(('a?'):rep(60) .. ('a-'):rep(30) .. 'b') do end" },
  { "string.gsub", "(('a'):rep(2000)):gsub(('.-'):rep(30) .. 'b', '')" },
  { "string.find in pcall", "while true do pcall(string.find, ('a'):rep(2000), ('a-'):rep(30) .. 'b') end" },
  { "table.sort of very much", "local numbers = {} for i = 1, 300000 do numbers[i] = i * 7919 % 300007 end table.sort(numbers)" },
  { "table.sort with a comparator that loops", "table.sort({ 3, 2, 1 }, function() while true do end end)" },
  { "table.sort with a comparator that lies", "while true do pcall(table.sort, { 3, 2, 1, 5, 4 }, function() return true end) end" },
  { "string.rep", "while true do local s = ('x'):rep(1000000) end", { timeout = true, memory = true } },
  { "table.concat of very much", "local t = {} for i = 1, 1000 do t[i] = long end table.concat(t)", { timeout = true, memory = true },
    head = "local long = ('x'):rep(1000000)" },
  { "metamethods", "local t = setmetatable({}, { __index = function(t, k) while true do pcall(rawget, t, k) end end }) local none = t.x" },
  { "a text of the error that loops", "error(setmetatable({}, { __tostring = function() while true do end end }))", { timeout = true, error = true } },
  { "load in load", "local text = 'local text = ... return load(text)(text)' load(text)(text)", { timeout = true, memory = true } },
}

-- Of those, the ones that a script does while it loads.
local LOADING = { "a loop", "a handler that loops", "string.find" }

local function title_of(name)
  return (name:gsub("[ .]", "_"))
end

--- How many there are.
M.COUNT = #ROWS

--- Hooks of an event, text by file name: all of them, and a last one that runs after them all.
---@param event string "postfork"
---@return table<string, string>
function M.hooks(event)
  local texts = { ["zz_last." .. event .. ".lua"] = "return function() forksafe.log.info('the last ran') end" }
  for i, row in ipairs(ROWS) do
    texts[("t%02d_%s.%s.lua"):format(i, title_of(row[1]), event)] = ("%s return function() %s end"):format(row.head or "", row[2])
  end
  return texts
end

--- Scripts that do it while they load, text by file name.
---@return table<string, string>
function M.loading()
  local texts = {}
  for _, row in ipairs(ROWS) do
    for i, name in ipairs(LOADING) do
      if row[1] == name then
        texts[("l%d_%s.lua"):format(i, title_of(name))] = row[2]
      end
    end
  end
  return texts
end

--- The outcomes that a subscriber of hooks() may have, as a set.
---@param subscriber string its name in the debug object
---@return table<string, boolean>
function M.may_end(subscriber)
  local number = tonumber(subscriber:match "^t(%d%d)_")
  return number and (ROWS[number][3] or { timeout = true }) or { ok = true }
end

return M
