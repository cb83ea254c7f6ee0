-- SPDX-License-Identifier: MIT
--
-- A list of records (tables with the same few fields) as lines of aligned columns, as many as the terminal is wide.
-- Runs in the command's process.
local pretty = require "repl.pretty"
local text = require "repl.text"

local M = {}

local widest_text = 60 -- bytes of a text in a cell
local widest_nested = 40 -- columns that a table inside a cell may take
local fewest = 3 -- columns that make a table
local gap = "  "

local function is_record(row)
  if type(row) ~= "table" then
    return false
  end
  for key in next, row do
    if type(key) ~= "string" then
      return false
    end
  end
  return true
end

local function is_list_of_records(list)
  local count, others = pretty.entries(list)
  if count == 0 or #others > 0 then
    return false
  end
  for _, row in ipairs(list) do
    if not is_record(row) then
      return false
    end
  end
  return true
end

local function add_names(columns, known, names)
  for _, name in ipairs(names) do
    if not known[name] then
      known[name] = true
      columns[#columns + 1] = name
    end
  end
end

--- The names of the fields that any record has: as the journal orders them (or `pick` did), others sorted after them.
---@param list table[]
---@return string[]
function M.columns(list)
  local meta = getmetatable(list)
  local present, sorted = {}, {}
  for _, row in ipairs(list) do
    for name in next, row do
      present[name] = true
    end
  end
  for name in next, present do
    sorted[#sorted + 1] = name
  end
  table.sort(sorted)
  local ordered, columns = {}, {}
  for _, name in ipairs(type(meta) == "table" and rawget(meta, "__columns") or {}) do
    ordered[#ordered + 1] = present[name] and name or nil
  end
  local known = {}
  add_names(columns, known, ordered)
  add_names(columns, known, sorted)
  return columns
end

local function cell(value)
  if value == nil then
    return ""
  elseif type(value) == "string" then
    local shown, cut = text.cut(value, widest_text)
    return text.escape(shown) .. (cut and "..." or "")
  end
  return pretty.inline(value, widest_nested)
end

-- One column: its name, place and cells, its width, whether it holds numbers only, and whether its cells differ. nil
-- where a cell is too large.
local function column_of(list, name, place, count)
  local column = { place = place, [0] = text.escape(name), numeric = true, varies = false }
  column.width = text.width(column[0])
  for i = 1, count do
    local value = rawget(list[i], name)
    column[i] = cell(value)
    if not column[i] then
      return nil
    end
    column.width = math.max(column.width, text.width(column[i]))
    column.numeric = column.numeric and (value == nil or type(value) == "number")
    column.varies = column.varies or column[i] ~= column[1]
  end
  return column
end

local function tells_more(a, b)
  if a.varies ~= b.varies then
    return a.varies
  end
  return a.place < b.place
end

-- The columns that fit beside each other, by their places. Those whose cells differ go before those that are all alike.
local function choose(list, names, count, width)
  local candidates, chosen, room = {}, {}, width + #gap
  for place, name in ipairs(names) do
    candidates[#candidates + 1] = column_of(list, name, place, count)
  end
  table.sort(candidates, tells_more)
  for _, column in ipairs(candidates) do
    if column.width + #gap <= room then
      chosen[column.place] = column
      room = room - column.width - #gap
    end
  end
  return chosen
end

-- The columns in a row, and the names of those that were not chosen.
local function split(names, chosen)
  local columns, left_out = {}, {}
  for place, name in ipairs(names) do
    columns[#columns + 1] = chosen[place]
    left_out[#left_out + 1] = not chosen[place] and text.escape(name) or nil
  end
  return columns, left_out
end

local function line_of(columns, row)
  local out = {}
  for i, column in ipairs(columns) do
    local padding = (" "):rep(column.width - text.width(column[row]))
    out[i] = column.numeric and padding .. column[row] or column[row] .. padding
  end
  return (table.concat(out, gap):gsub(" +$", ""))
end

-- "... not shown: a, b", on as many lines as it takes.
local function add_left_out(lines, left_out, width)
  local line = "... not shown:"
  for i, name in ipairs(left_out) do
    local word = " " .. name .. (i < #left_out and "," or "")
    if text.width(line .. word) > width then
      lines[#lines + 1] = line
      line = "   "
    end
    line = line .. word
  end
  lines[#lines + 1] = line
end

--- The list as a table with a line of names above. What does not fit beside each other is named below it. nil where it
--- is no list of records, or so little fits that a table is no help.
---@param list any
---@param limits? table fields of pretty.limits: width, items
---@return string?
function M.format(list, limits)
  limits = setmetatable(limits or {}, { __index = pretty.limits })
  if type(list) ~= "table" or not is_list_of_records(list) then
    return nil
  end
  local names = M.columns(list)
  local shown = math.min(#list, limits.items)
  local columns, left_out = split(names, choose(list, names, shown, limits.width))
  if #columns == 0 or #columns < math.min(fewest, #names) then
    return nil
  end
  local lines = {}
  for row = 0, shown do
    lines[row + 1] = line_of(columns, row)
  end
  if shown < #list then
    lines[#lines + 1] = ("... %d more"):format(#list - shown)
  end
  if #left_out > 0 then
    add_left_out(lines, left_out, limits.width)
  end
  return table.concat(lines, "\n")
end

return M
