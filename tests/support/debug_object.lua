-- SPDX-License-Identifier: MIT
--
-- The debug object as tests look at it: through the real `forksafe debug`. Runs in the test process.
local cjson = require "cjson"
local paths = require "support.paths"
local process = require "support.process"
local wait = require "support.wait"

local M = {}

-- Each of its lists is [] when it is empty: decoded as an empty table, like an object.
M.null = cjson.null

--- `forksafe debug TARGET`, decoded. options: previous = true, env =, and more arguments as a list.
---@param target? string|integer ini, instance, journal or pid
---@param options? table
---@return table
function M.debug(target, options)
  options = options or {}
  local argv = { paths.command, "debug", env = options.env, timeout = options.timeout }
  if options.previous then
    table.insert(argv, "--previous")
  end
  for _, argument in ipairs(options) do
    table.insert(argv, argument)
  end
  table.insert(argv, target and tostring(target))
  local text = process.must_run(argv)
  local ok, object = pcall(cjson.decode, text)
  if not ok then
    wait.fail("not JSON (" .. object .. "):\n" .. text, 2)
  end
  return object
end

--- executed_hooks as a set: { ["containers.uwsgi.post_fork_hook ApplicationPostFork"] = true }.
---@param object table
---@return table<string, boolean>
function M.executed_hooks(object)
  local set = {}
  for _, pair in ipairs(object.executed_hooks) do
    set[pair[1] .. " " .. pair[2]] = true
  end
  return set
end

--- The records of one event, in their order.
---@param object table
---@param event string "ApplicationPostFork"
---@return table[]
function M.records_of(object, event)
  local list = {}
  for _, record in ipairs(object.records) do
    if record.event == event then
      table.insert(list, record)
    end
  end
  return list
end

--- The pids of the records of one event, each once, sorted.
---@param object table
---@param event string
---@return integer[]
function M.pids_of(object, event)
  local seen, list = {}, {}
  for _, record in ipairs(M.records_of(object, event)) do
    if not seen[record.pid] then
      seen[record.pid] = true
      table.insert(list, record.pid)
    end
  end
  table.sort(list)
  return list
end

return M
