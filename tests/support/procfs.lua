-- SPDX-License-Identifier: MIT
--
-- What /proc tells about processes: children, trees, descriptors. Read from outside, in the test process.
local ffi = require "ffi"
local lfs = require "lfs"
local files = require "support.files"

ffi.cdef [[ long readlink(const char *path, char *buffer, size_t size); ]]

local M = {}

--- What /proc/PID/stat says: pid, name, state ("R", "S", "Z", ...), ppid, pgrp, session, start (clock ticks since
--- boot). nil where there is no such process.
---@param pid integer
---@return table?
function M.info(pid)
  local text = files.read("/proc/" .. pid .. "/stat")
  if not text or text == "" then
    return nil
  end
  local name, rest = text:match "^%d+ %((.*)%) (.*)$"
  local fields = {}
  for field in rest:gmatch "%S+" do
    table.insert(fields, field)
  end
  return {
    pid = pid,
    name = name,
    state = fields[1],
    ppid = tonumber(fields[2]),
    pgrp = tonumber(fields[3]),
    session = tonumber(fields[4]),
    start = tonumber(fields[20]),
  }
end

--- Whether the process runs; a zombie does not.
---@param pid integer
---@return boolean
function M.alive(pid)
  local info = M.info(pid)
  return info ~= nil and info.state ~= "Z" and info.state ~= "X"
end

--- Start time in clock ticks since boot; nil where there is no such process.
---@param pid integer
---@return integer?
function M.start_time(pid)
  local info = M.info(pid)
  return info and info.start
end

--- Every process, by pid.
---@return table<integer, table>
function M.all()
  local found = {}
  for name in lfs.dir "/proc" do
    local pid = tonumber(name)
    found[pid or 0] = pid and M.info(pid)
  end
  return found
end

local function add_children(list, all, pid, zombies)
  for child, info in pairs(all) do
    if info.ppid == pid and (zombies or (info.state ~= "Z" and info.state ~= "X")) then
      table.insert(list, child)
    end
  end
end

--- Direct children that run, sorted by pid.
---@param pid integer
---@param zombies? boolean those not yet reaped too
---@return integer[]
function M.children(pid, zombies)
  local list = {}
  add_children(list, M.all(), pid, zombies)
  table.sort(list)
  return list
end

--- Children, their children and so on, sorted by pid; zombies too.
---@param pid integer
---@return integer[]
function M.descendants(pid)
  local all, list = M.all(), { pid }
  local i = 1
  while list[i] do
    add_children(list, all, list[i], true)
    i = i + 1
  end
  table.remove(list, 1)
  table.sort(list)
  return list
end

--- The command line as one string; the name in parentheses where there is none.
---@param pid integer
---@return string
function M.command_line(pid)
  local text = files.read("/proc/" .. pid .. "/cmdline") or ""
  if text == "" then
    local info = M.info(pid)
    return "(" .. (info and info.name or "gone") .. ")"
  end
  return (text:gsub("%z$", ""):gsub("%z", " "))
end

-- posix.unistd.readlink takes lstat's size as the length, which /proc does not tell.
local link_buffer = ffi.new "char[4096]"

local function read_link(path)
  local length = tonumber(ffi.C.readlink(path, link_buffer, 4096))
  return length >= 0 and ffi.string(link_buffer, length) or nil
end

--- Open descriptors: what each leads to, by number. Empty where it cannot be seen.
---@param pid integer
---@return table<integer, string>
function M.fds(pid)
  local found = {}
  local directory = "/proc/" .. pid .. "/fd"
  if not lfs.attributes(directory, "mode") then
    return found
  end
  local ok, next_name, state = pcall(lfs.dir, directory)
  if not ok then
    return found
  end
  for name in next_name, state do
    local number = tonumber(name)
    local target = number and read_link(directory .. "/" .. name)
    if target then
      found[number] = target
    end
  end
  return found
end

return M
