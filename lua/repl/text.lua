-- SPDX-License-Identifier: MIT
--
-- Text on its way to a terminal: what the journal holds was written by others, so nothing in it may move a cursor,
-- change a title or turn the direction of a line. Used by all that the REPL prints. Runs in
-- the command's process.
local M = {}

local names = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

-- Ranges of code points that are never shown as they are: C0, DEL and C1, directions, line separators, invisible tags.
local hidden = {
  { 0x00, 0x1f },
  { 0x7f, 0x9f },
  { 0x61c, 0x61c },
  { 0x200e, 0x200f },
  { 0x2028, 0x202e },
  { 0x2066, 0x2069 },
  { 0xfeff, 0xfeff },
  { 0xfff9, 0xfffb },
  { 0xe0000, 0xe007f },
}

-- Ranges that take two columns, and none.
local wide = {
  { 0x1100, 0x115f },
  { 0x2e80, 0xa4cf },
  { 0xac00, 0xd7a3 },
  { 0xf900, 0xfaff },
  { 0xfe30, 0xfe6f },
  { 0xff00, 0xff60 },
  { 0xffe0, 0xffe6 },
  { 0x1f300, 0x1faff },
  { 0x20000, 0x3fffd },
}
local zero = { { 0x300, 0x36f }, { 0x200b, 0x200d }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f } }

local function within(ranges, code)
  for _, range in ipairs(ranges) do
    if code >= range[1] and code <= range[2] then
      return true
    end
  end
  return false
end

-- How long a sequence is, the bits of its first byte, and the smallest code point that needs such a length.
local function sequence(first)
  if first >= 0xc2 and first <= 0xdf then
    return 2, first - 0xc0, 0x80
  elseif first >= 0xe0 and first <= 0xef then
    return 3, first - 0xe0, 0x800
  elseif first >= 0xf0 and first <= 0xf4 then
    return 4, first - 0xf0, 0x10000
  end
end

--- The UTF-8 character at byte `at`: its code point (nil where the bytes are not UTF-8) and how many bytes it takes.
---@param text string
---@param at integer
---@return integer? code
---@return integer length
function M.decode(text, at)
  local first = text:byte(at)
  if first < 0x80 then
    return first, 1
  end
  local length, code, least = sequence(first)
  if not length then
    return nil, 1
  end
  for i = at + 1, at + length - 1 do
    local byte = text:byte(i)
    if not byte or byte < 0x80 or byte > 0xbf then
      return nil, 1
    end
    code = code * 64 + byte - 0x80
  end
  if code < least or code > 0x10ffff or (code >= 0xd800 and code <= 0xdfff) then
    return nil, 1
  end
  return code, length
end

local function escape_one(piece, code)
  if not code or code < 0x80 then
    return names[piece] or ("\\x%02x"):format(piece:byte())
  end
  return ("\\u{%x}"):format(code)
end

local function escape_run(run, keep)
  local out, at = {}, 1
  while at <= #run do
    local code, length = M.decode(run, at)
    local piece = run:sub(at, at + length - 1)
    local shown = code and (not within(hidden, code) or (keep and keep:find(piece, 1, true)))
    out[#out + 1] = shown and piece or escape_one(piece, code)
    at = at + length
  end
  return table.concat(out)
end

--- The text with everything harmful written as a Lua escape. The characters of `keep` stay ("\n\t").
---@param text string
---@param keep? string
---@return string
function M.escape(text, keep)
  return (text:gsub("[%c\127-\255]+", function(run)
    return escape_run(run, keep)
  end))
end

--- The text as a Lua literal that gives it again, byte for byte.
---@param text string
---@return string
function M.quote(text)
  return '"' .. M.escape((text:gsub('[\\"]', names))) .. '"'
end

local function columns_of(code)
  if not code or code < 0x300 then
    return 1
  end
  return within(zero, code) and 0 or within(wide, code) and 2 or 1
end

--- Columns that the text takes on a terminal.
---@param text string
---@return integer
function M.width(text)
  if not text:find "[\128-\255]" then
    return #text
  end
  local total, at = 0, 1
  while at <= #text do
    local code, length = M.decode(text, at)
    total = total + columns_of(code)
    at = at + length
  end
  return total
end

--- The first `length` bytes at most, never ending within a character; and whether anything was cut off.
---@param text string
---@param length integer
---@return string
---@return boolean cut
function M.cut(text, length)
  if #text <= length then
    return text, false
  end
  while length > 0 and text:byte(length + 1) >= 0x80 and text:byte(length + 1) <= 0xbf do
    length = length - 1
  end
  return text:sub(1, length), true
end

return M
