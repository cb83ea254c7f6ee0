-- SPDX-License-Identifier: MIT
--
-- What TAB adds: globals, the journal's names and keywords; fields after "." and ":"; keys after '["'. Looks at values
-- that are there and calls nothing of the user's. Runs in the command's process.
local pretty = require "repl.pretty"
local text = require "repl.text"

local M = {}

local most_listed = 200
local keywords = {
  "and", "break", "else", "elseif", "false", "for", "function", "local", "nil", "not", "repeat", "return", "then",
  "true", "until", "while",
}

-- The table in which fields of a value are looked up after the value itself, if it is one: strings have theirs too.
local function index_of(value)
  local meta = debug.getmetatable(value)
  local index = type(meta) == "table" and rawget(meta, "__index")
  return type(index) == "table" and index or nil
end

local function field(value, key)
  for _ = 1, 10 do
    if type(value) == "table" and rawget(value, key) ~= nil then
      return rawget(value, key)
    end
    value = index_of(value)
    if value == nil then
      return nil
    end
  end
end

-- Splits the last step off a path such as `a.b[1]["c"]`: what comes before it, and its key. nil: it is no path.
local function last_step(path)
  local rest, number = path:match "^(.*)%[(%d+)%]$"
  if rest then
    return rest, tonumber(number)
  end
  local before, _, key = path:match "^(.*)%[([\"'])([^\"'\\]*)%2%]$"
  if before then
    return before, key
  end
  return path:match "^(.*)[.:]([%a_][%w_]*)$"
end

--- The value of a path at the end of `code`; nil where there is none. `global` gives a global's value by its name.
local function resolve(code, global)
  local steps = {}
  for _ = 1, 50 do
    local rest, key = last_step(code)
    if not rest then
      break
    end
    table.insert(steps, 1, key)
    code = rest
  end
  local name = code:match "[%a_][%w_]*$"
  if not name then
    return nil
  end
  local value = global(name)
  for _, key in ipairs(steps) do
    value = field(value, key)
  end
  return value
end

local function add_fields(found, value, partial, accept)
  for _ = 1, 10 do
    for key, item in next, type(value) == "table" and value or {} do
      if type(key) == "string" and key:sub(1, #partial) == partial and accept(key, item) then
        found[key] = item
      end
    end
    value = index_of(value)
  end
end

local function is_method(key, item)
  return pretty.is_name(key) and type(item) == "function"
end

local function any()
  return true
end

local function add_globals(found, partial, scope)
  add_fields(found, _G, partial, pretty.is_name)
  for _, names in ipairs { scope.names, keywords } do
    for _, name in ipairs(names) do
      if name:sub(1, #partial) == partial then
        found[name] = found[name] or true
      end
    end
  end
end

-- What fits at the end of `code`: values by name, the part that is typed already, and what closes a name.
local function find(code, scope)
  local found = {}
  local head, quote, key = code:match "^(.*)%[([\"'])([^\"'%]]*)$"
  if head and resolve(head, scope.global) ~= nil then
    add_fields(found, resolve(head, scope.global), key, any)
    return found, key, quote .. "]"
  end
  local before, partial = code:match "^(.-)([%a_]?[%w_]*)$"
  local path, dot = before:match "^(.*)([.:])$"
  if path and path:sub(-1) ~= "." then
    add_fields(found, resolve(path, scope.global), partial, dot == ":" and is_method or pretty.is_name)
  elseif not path and partial ~= "" then
    add_globals(found, partial, scope)
  end
  return found, partial, nil
end

local function common_prefix(words)
  local first, last = words[1], words[#words] -- sorted: what these two share, all share
  local length = 0
  while length < #first and first:byte(length + 1) == last:byte(length + 1) do
    length = length + 1
  end
  return first:sub(1, length)
end

-- The words in columns, as a shell lists them.
local function list_words(words, width)
  local widest, shown = 0, {}
  for i = 1, math.min(#words, most_listed) do
    shown[i] = text.escape(words[i])
    widest = math.max(widest, text.width(shown[i]) + 2)
  end
  local across = math.max(1, math.floor(width / widest))
  local lines = {}
  for i = 1, #shown, across do
    local line = {}
    for j = i, math.min(i + across - 1, #shown) do
      line[#line + 1] = shown[j] .. (" "):rep(widest - text.width(shown[j]))
    end
    lines[#lines + 1] = (table.concat(line):gsub(" +$", ""))
  end
  if #words > #shown then
    lines[#lines + 1] = ("... %d more"):format(#words - #shown)
  end
  return table.concat(lines, "\n")
end

--- What TAB does at the end of `code` (the line up to the cursor). scope.global(name) gives the value of a global,
--- scope.names are those that _G does not have itself.
---@param code string
---@param scope { global: fun(name: string): any, names: string[] }
---@param width integer columns of the terminal
---@return string addition to be typed in; "" for nothing
---@return string? list of what is possible, where there is more than one way on
function M.complete(code, scope, width)
  if not code:find "%S" then
    return "  ", nil -- an indent
  end
  local found, partial, closing = find(code, scope)
  local words = {}
  for name in next, found do
    words[#words + 1] = name
  end
  if #words == 0 then
    return "", nil
  end
  table.sort(words)
  local addition = common_prefix(words):sub(#partial + 1)
  if text.escape(addition) ~= addition then
    return "", nil -- a name that cannot be typed
  elseif #words == 1 then
    local call = not closing and type(found[words[1]]) == "function" and "("
    return addition .. (closing or call or ""), nil
  end
  return addition, addition == "" and list_words(words, width) or nil
end

return M
