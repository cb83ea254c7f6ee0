-- SPDX-License-Identifier: MIT
--
-- Files and directories of a test: made fresh, removed when the test ends. Runs in the test process.
local lfs = require "lfs"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local scope = require "support.scope"

local M = {}

--- Removes a file or a whole directory; symbolic links are removed, not followed.
---@param path string
function M.remove(path)
  if lfs.symlinkattributes(path, "mode") ~= "directory" then
    os.remove(path)
    return
  end
  stat.chmod(path, tonumber("700", 8))
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then
      M.remove(path .. "/" .. name)
    end
  end
  lfs.rmdir(path)
end

--- A fresh directory (mode 0755, so that servers which change their user can reach it), removed at the end of the test.
---@return string path
function M.tmpdir()
  local base = stdlib.getenv "TMPDIR" or "/tmp"
  local path = assert(stdlib.mkdtemp(base .. "/forksafe-test-XXXXXX"))
  stat.chmod(path, tonumber("755", 8))
  scope.defer(function()
    M.remove(path)
  end)
  return path
end

local function make_parents(path)
  local parent = path:match "^(.+)/[^/]*$"
  if parent and not lfs.attributes(parent, "mode") then
    make_parents(parent)
    assert(lfs.mkdir(parent))
  end
end

--- Writes a file (as a whole, no newline added), and the directories above it. Mode 0644 unless told.
---@param path string
---@param text string
---@param mode? integer such as tonumber("755", 8)
---@return string path
function M.write(path, text, mode)
  make_parents(path)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
  assert(stat.chmod(path, mode or tonumber("644", 8)) == 0)
  return path
end

--- The text of a file; nil where there is none.
---@param path string
---@return string?
function M.read(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read "*a"
  file:close()
  return text
end

--- Gives a file or directory, with all below it, to a user.
---@param path string
---@param uid integer
---@param gid? integer
function M.give(path, uid, gid)
  assert(unistd.chown(path, uid, gid or uid))
  if lfs.symlinkattributes(path, "mode") ~= "directory" then
    return
  end
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then
      M.give(path .. "/" .. name, uid, gid)
    end
  end
end

--- All files below a directory, sorted, links not followed; for a file just that one.
---@param path string
---@return string[]
function M.all_files(path)
  if lfs.symlinkattributes(path, "mode") ~= "directory" then
    return { path }
  end
  local found = {}
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then
      for _, file in ipairs(M.all_files(path .. "/" .. name)) do
        table.insert(found, file)
      end
    end
  end
  table.sort(found)
  return found
end

local function split_lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]*\n?" do
    if line ~= "" then
      table.insert(lines, line)
    end
  end
  return lines
end

--- Copies a source file, or a tree of them, with the one line taken out that matches: for tests that show that
--- their assertions fail without it. An error unless exactly one line of all files matches.
---@param source string file or directory
---@param pattern string Lua pattern
---@return string copy path of the copy, named as the source
---@return string line what was taken out
function M.without_line(source, pattern)
  local base = source:match "([^/]+)/*$"
  local copy = M.tmpdir() .. "/" .. base
  local hits, removed = {}, nil
  for _, path in ipairs(M.all_files(source)) do
    local kept = {}
    for number, line in ipairs(split_lines(M.read(path))) do
      if line:find(pattern) then
        table.insert(hits, path .. ":" .. number .. ": " .. line)
        removed = line
      else
        table.insert(kept, line)
      end
    end
    local mode = stat.stat(path).st_mode
    M.write(copy .. path:sub(#source:gsub("/+$", "") + 1), table.concat(kept), mode % 4096)
  end
  if #hits ~= 1 then
    error(("%d lines of %s match '%s', not one:\n%s"):format(#hits, source, pattern, table.concat(hits)), 2)
  end
  return copy, removed
end

--- Copies a tree with `text` added to the end of the one file whose path matches. An error unless exactly one does.
---@param source string directory
---@param pattern string Lua pattern
---@param text string
---@return string copy path of the copy, named as the source
function M.with_text(source, pattern, text)
  local copy = M.tmpdir() .. "/" .. source:match "([^/]+)/*$"
  local hits = 0
  for _, path in ipairs(M.all_files(source)) do
    local found = path:find(pattern) ~= nil
    hits = hits + (found and 1 or 0)
    M.write(copy .. path:sub(#source:gsub("/+$", "") + 1), M.read(path) .. (found and text or ""))
  end
  if hits ~= 1 then
    error(("%d files of %s match '%s', not one"):format(hits, source, pattern), 2)
  end
  return copy
end

return M
