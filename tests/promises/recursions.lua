-- SPDX-License-Identifier: MIT
--
-- Scripts that call themselves through C functions and metamethods until something gives, for 04_recursion_spec.lua: bodies of a hook, by
-- name. Each has to end as an error.
local M = {}

local ROWS = {
  ["calls"] = "local function f() return 1 + f() end f()",
  ["string.gsub"] = "local function f(s) return (s:gsub('.', f)) end f 'x'",
  ["string.gsub of a table"] = "local t t = setmetatable({}, { __index = function(_, s) return (s:gsub('.', t)) end }) (('x'):gsub('.', t))",
  ["table.sort"] = "local function f() table.sort({ 3, 2, 1 }, f) return true end f()",
  ["coroutine.resume"] = "local function f() assert(coroutine.resume(coroutine.create(f))) end f()",
  ["coroutine.wrap"] = "local function f() coroutine.wrap(f)() end f()",
  ["coroutines in pcall"] = "local function f() assert(pcall(coroutine.wrap(f))) end f()",
  ["tostring"] = "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return '' .. tostring(t) end tostring(t)",
  ["string.format"] = "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return '' .. ('%s'):format(t) end tostring(t)",
  ["print"] = "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() print(t) return '' end print(t)",
  ["log"] = "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() forksafe.log.debug('%s', t) return '' end "
    .. "forksafe.log.debug('%s', t)",
  ["load"] = "local text = 'local text, n = ... return 1 + assert(load(text))(text)' assert(load(text))(text)",
  ["load of parentheses"] = "assert(load('return ' .. ('('):rep(100000) .. '1' .. (')'):rep(100000)))",
  ["load of tables"] = "assert(load('return ' .. ('{'):rep(100000) .. ('}'):rep(100000)))",
  ["load of functions"] = "assert(load(('return function() '):rep(10000) .. (' end'):rep(10000)))",
  ["load of a concatenation"] = "assert(load('return 1' .. (' .. 1'):rep(100000)))",
  ["load of a power"] = "assert(load('return 1' .. (' ^ 1'):rep(100000)))",
  ["__index"] = "local t = setmetatable({}, { __index = function(t, k) return 1 + t[k] end }) local none = t.x",
  ["__newindex"] = "local t = setmetatable({}, { __newindex = function(t, k, v) t[k] = v end }) t.x = 1",
  ["__lt"] = "local m = {} m.__lt = function(a, b) return not (a < b) end local none = setmetatable({}, m) < setmetatable({}, m)",
  ["__lt in table.sort"] = "local m = {} local function two() return { setmetatable({}, m), setmetatable({}, m) } end "
    .. "m.__lt = function() table.sort(two()) return true end table.sort(two())",
  ["__eq"] = "local m = {} m.__eq = function(a, b) return not (a == b) end local none = setmetatable({}, m) == setmetatable({}, m)",
  ["__concat"] = "local t = setmetatable({}, { __concat = function(a, b) return 'x' .. (a .. b) end }) local none = t .. t",
  ["__call"] = "local t = setmetatable({}, { __call = function(t) return 1 + t() end }) t()",
  ["__unm"] = "local t = setmetatable({}, { __unm = function(t) return 1 + -t end }) local none = -t",
  ["__len"] = "local function f() local t = {} for k in (('x'):gmatch '.') do t[k] = f() end return 1 + #t end f()",
  ["xpcall's handler"] = "local function f() error('x', f) end local function h() return (xpcall(f, h)) end assert(xpcall(f, h))",
  ["xpcall in xpcall"] = "local function f() assert(xpcall(f, debug and debug.traceback or tostring)) end f()",
  ["pcall"] = "local function f() assert(pcall(f)) end f()",
  ["pcall of pcall"] = "local p = pcall for i = 1, 100000 do local q = p p = function(...) return q(...) end end error(p(error))",
  ["unpack"] = "local t = {} for i = 1, 100000 do t[i] = i end local none = { unpack(t) } error 'unpacked'",
  ["require"] = "local function f() return 1 + require('lib.deep')(f) end f()",
}

local function title_of(name)
  return (name:gsub("[ ']", "_"):gsub("%.", "_"))
end

--- Hooks of an event, text by file name, and a last one that runs after them all.
---@param event string "postfork"
---@return table<string, string>
function M.hooks(event)
  local texts = {
    ["zz_last." .. event .. ".lua"] = "return function() forksafe.log.info('the last ran') end", ["lib/deep.lua"] = "return function(f) return f() end",
  }
  for name, body in pairs(ROWS) do
    texts[("t_%s.%s.lua"):format(title_of(name), event)] = "return function() " .. body .. " end"
  end
  return texts
end

--- How many there are.
M.COUNT = 0
for _ in pairs(ROWS) do
  M.COUNT = M.COUNT + 1
end

return M
