-- SPDX-License-Identifier: MIT
--
-- Values as text that could be read back as Lua: keys sorted, short tables on one line, depth and size bounded with
-- "...", cycles named. Never calls a metamethod except __tostring, and that protected. Runs in the command's process.
local text = require "repl.text"

local M = {}

--- What bounds the output; a caller may give any of them.
M.limits = {
  width = 80, -- columns
  depth = 6, -- tables within tables
  items = 100, -- entries of one table
  text = 400, -- bytes of a string inside a table
  total = 5000, -- entries of all tables together
}

local keywords = {}
for word in
  ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while]]):gmatch "%a+"
do
  keywords[word] = true
end

--- Whether `t.name` can be written.
---@param name any
---@return boolean
function M.is_name(name)
  return type(name) == "string" and name:find "^[%a_][%w_]*$" ~= nil and not keywords[name]
end

--- A number as Lua reads it back.
---@param number number
---@return string
function M.number(number)
  if number ~= number then
    return "nan"
  elseif number == math.huge or number == -math.huge then
    return number > 0 and "inf" or "-inf"
  elseif number == math.floor(number) and math.abs(number) < 2 ^ 53 then
    return ("%.0f"):format(number)
  end
  for digits = 14, 16 do
    local short = ("%." .. digits .. "g"):format(number)
    if tonumber(short) == number then
      return short
    end
  end
  return ("%.17g"):format(number)
end

local function function_text(fn)
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then
    return "<" .. text.escape(tostring(fn)) .. ">"
  end
  return ("<function %s:%d>"):format(text.escape(info.short_src), info.linedefined)
end

local function object_text(value)
  local ok, result = pcall(tostring, value)
  return text.escape(ok and type(result) == "string" and result or "<" .. type(value) .. ">")
end

local function string_text(value, limit)
  local shown, cut = text.cut(value, limit)
  return text.quote(shown) .. (cut and "..." or "")
end

--- Anything but a plain table, on one line. A string longer than `limit` bytes is cut.
---@param value any
---@param limit? integer
---@return string
function M.scalar(value, limit)
  local kind = type(value)
  if kind == "string" then
    return string_text(value, limit or math.huge)
  elseif kind == "number" then
    return M.number(value)
  elseif kind == "function" then
    return function_text(value)
  elseif kind == "userdata" and tostring(value) == "userdata: NULL" then
    return "null"
  elseif kind == "nil" or kind == "boolean" or kind == "cdata" then
    return object_text(value)
  end
  return "<" .. object_text(value) .. ">"
end

-- Identifiers, then other strings, then numbers, then the rest.
local function rank(key)
  if M.is_name(key) then
    return 1
  end
  return type(key) == "string" and 2 or type(key) == "number" and 3 or 4
end

local function before(a, b)
  local rank_a, rank_b = rank(a), rank(b)
  if rank_a ~= rank_b then
    return rank_a < rank_b
  elseif rank_a == 4 then
    return tostring(a) < tostring(b)
  end
  return a < b
end

--- How many of the table's entries are a list from 1 on, and its other keys, sorted.
---@param t table
---@return integer count
---@return any[] keys
function M.entries(t)
  local count = 0
  while rawget(t, count + 1) ~= nil do
    count = count + 1
  end
  local keys = {}
  for key in next, t do
    local listed = type(key) == "number" and key >= 1 and key <= count and key == math.floor(key)
    if not listed then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, before)
  return count, keys
end

local function key_text(key, limit)
  if M.is_name(key) then
    return key .. " = "
  end
  return "[" .. M.scalar(key, limit) .. "] = "
end

-- A table that tells its own text is not looked into.
local function is_plain(value)
  if type(value) ~= "table" then
    return false
  end
  local meta = debug.getmetatable(value)
  return not (type(meta) == "table" and rawget(meta, "__tostring"))
end

-- Calls visit(key text, value) for each entry within the limits, and then visit(nil, how many were left out) if any
-- were. Stops early where visit returns false, and returns false then.
local function each(state, t, visit)
  local count, keys = M.entries(t)
  local shown = math.min(count + #keys, state.limits.items, state.left)
  for i = 1, shown do
    local listed = i <= count
    local key = listed and i or keys[i - count]
    if visit(listed and "" or key_text(key, state.limits.text), rawget(t, key)) == false then
      return false
    end
  end
  if shown < count + #keys then
    return visit(nil, count + #keys - shown)
  end
end

local inline

-- A table whose shape needs no look inside: nil otherwise.
local function short_table(state, t, depth)
  if state.path[t] then
    return "<cycle>"
  elseif next(t) == nil then
    return "{}"
  elseif depth > state.limits.depth then
    return "{...}"
  end
end

local function inline_table(state, t, depth, room)
  local parts, used = {}, 4
  state.path[t] = true
  local fits = each(state, t, function(key, value)
    local part = not key and "..." or inline(state, value, depth + 1, room - used - #key)
    used = part and used + #(key or "") + text.width(part) + 2
    parts[#parts + 1] = part and (key or "") .. part
    return part ~= nil and used - 2 <= room
  end)
  state.path[t] = nil
  return fits ~= false and "{ " .. table.concat(parts, ", ") .. " }" or nil
end

-- On one line of at most `room` columns; nil where it does not fit. Scalars always fit.
function inline(state, value, depth, room)
  if not is_plain(value) then
    return M.scalar(value, state.limits.text)
  end
  return short_table(state, value, depth) or room > 4 and inline_table(state, value, depth, room) or nil
end

local function block(state, value, depth, lead)
  local indent = ("  "):rep(depth)
  local one = inline(state, value, depth, state.limits.width - #indent - lead - 1)
  if one then
    return one
  end
  local lines = {}
  state.path[value] = true
  each(state, value, function(key, item)
    state.left = state.left - 1
    local shown = not key and "... " .. item .. " more" or key .. block(state, item, depth + 1, #key) .. ","
    lines[#lines + 1] = indent .. "  " .. shown
  end)
  state.path[value] = nil
  return "{\n" .. table.concat(lines, "\n") .. "\n" .. indent .. "}"
end

local function new_state(limits)
  limits = setmetatable(limits or {}, { __index = M.limits })
  return { limits = limits, left = limits.total, path = {} }
end

--- Any value as text. Strings are quoted, and whole where they are the value itself.
---@param value any
---@param limits? table fields of M.limits
---@return string
function M.format(value, limits)
  if not is_plain(value) then
    return M.scalar(value)
  end
  return block(new_state(limits), value, 0, 0)
end

--- A value on one line of at most `room` columns; nil where that is too short for it.
---@param value any
---@param room integer
---@return string?
function M.inline(value, room)
  local line = inline(new_state(), value, 0, room)
  return line and text.width(line) <= room and line or nil
end

return M
