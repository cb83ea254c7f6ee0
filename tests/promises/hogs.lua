-- SPDX-License-Identifier: MIT
--
-- Scripts that take memory without end, each in another way, for 02_memory_spec.lua: bodies of a hook. Each has to end for want of memory.
local M = {}

M.ROWS = {
  { "strings in a table", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end" },
  { "short strings", "local t = {} for i = 1, 1e9 do t['key ' .. i] = true end" },
  { "a string that doubles", "local s = 'x' while true do s = s .. s end" },
  { "string.rep", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(4000000 + i) end" },
  { "one string.rep", "return ('x'):rep(1000000000)" },
  { "table.concat", "local t, s = {}, ('x'):rep(1000) for i = 1, 100000 do t[i] = s end return table.concat(t)" },
  { "string.gsub", "local s = ('x'):rep(100000) return (s:gsub('x', s))" },
  { "string.format", "local s = ('x'):rep(1000000) local t = {} for i = 1, 1e9 do t[i] = ('%s%d'):format(s, i) end" },
  { "numbers in a table", "local t = {} for i = 1, 1e9 do t[i] = i end" },
  { "numbers in a hash", "local t = {} for i = 1, 1e9 do t[i + 0.5] = i end" },
  { "tables", "local t = {} for i = 1, 1e9 do t[i] = {} end" },
  { "a chain of tables", "local t while true do t = { t } end" },
  { "tables as keys", "local t = {} while true do t[{}] = {} end" },
  { "metatables", "local t = {} for i = 1, 1e9 do t[i] = setmetatable({}, { __index = {} }) end" },
  { "closures", "local t = {} for i = 1, 1e9 do t[i] = function() return i end end" },
  { "coroutines", "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() coroutine.yield(i) end) coroutine.resume(t[i]) end" },
  { "loaded code", "local t = {} for i = 1, 1e9 do t[i] = load('return function() return ' .. i .. ' end') end" },
  { "a long text of code", "local t = {} for i = 1, 1e9 do t[i] = load('return {' .. ('1,'):rep(200000) .. i .. '}') end" },
  { "string.upper", "local t, s = {}, ('x'):rep(100000) for i = 1, 1e9 do t[i] = (s .. i):upper() end" },
  { "in pcall", "local t = {} local function more() for i = 1, 1e9 do t[#t + 1] = ('x'):rep(1000) .. #t end end\nlocal ok, problem repeat ok, problem = "
    .. "pcall(more) until not ok error(problem, 0)" },
}

--- Hooks of an event, text by file name; after each hog one that needs a megabyte. They hog in the workers for which `condition`, an
--- expression of `event`, holds.
---@param event string "postfork"
---@param condition string
---@return table<string, string>
function M.hooks(event, condition)
  local texts = {}
  for i, row in ipairs(M.ROWS) do
    local name = ("t%02d_%s"):format(i, (row[1]:gsub("[ .]", "_")))
    texts[("%sa.%s.lua"):format(name, event)] = ("return function(event) if %s then %s end end"):format(condition, row[2])
    texts[("%sb.%s.lua"):format(name, event)] = ("return function(event) if %s then local t = {} for i = 1, 1000 do t[i] = "):format(condition)
      .. "('z'):rep(1000) .. i end end end"
  end
  texts["zz_last." .. event .. ".lua"] = "return function() forksafe.log.info('the last ran') end"
  return texts
end

return M
