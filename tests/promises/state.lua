-- SPDX-License-Identifier: MIT
--
-- What a host's processes have of signals and descriptors, as text: what must not differ between a server with forksafe and one
-- without. Runs in the test process.
local support = require "support"

local M = {}

--- What a process has of signals, and how many descriptors of each kind, as lines.
---@param pid integer
---@return string
function M.of(pid)
  local counts, lines = {}, {}
  for name, value in support.read("/proc/" .. pid .. "/status"):gmatch "(Sig%u%l%l):%s*(%x+)" do
    table.insert(lines, name .. " " .. value)
  end
  for _, target in pairs(support.fds(pid)) do
    local kind = target:gsub(":?%[.*$", ""):gsub("^/.* %(deleted%)$", "deleted file"):gsub("^/.*/forksafe%-test%-[^/]+", "DIR")
    counts[kind] = (counts[kind] or 0) + 1
  end
  for kind, count in pairs(counts) do
    table.insert(lines, kind .. " " .. count)
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

--- The states of a server's master and of its workers, sorted.
---@param server table a process of support.spawn
---@param workers integer[]
---@return string
function M.of_all(server, workers)
  local list = {}
  for _, pid in ipairs(workers) do
    table.insert(list, M.of(pid))
  end
  table.sort(list)
  table.insert(list, 1, M.of(server.pid))
  return table.concat(list, "\n--\n")
end

return M
