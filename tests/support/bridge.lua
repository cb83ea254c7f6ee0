-- SPDX-License-Identifier: MIT
--
-- Real hosts that are small: each forks a worker that runs the hooks given, and says in its log what they say. Runs in the test process.
local files = require "support.files"
local paths = require "support.paths"
local process = require "support.process"
local scripts = require "support.scripts"

local M = { data = paths.data .. "/bridge", ruby = "/usr/bin/ruby", python = "/usr/bin/python3" }

-- The lines that the hooks said, without the library's "forksafe[...]: "; what the log says of failures too.
local function said(result)
  local lines = {}
  for line in result.stdout:gmatch "[^\n]+" do
    lines[#lines + 1] = line:match "^forksafe%[[%w.-]+%]: (.*)$"
  end
  return lines
end

local function run(argv, scripts_of, options)
  local ini, directory = scripts.application(scripts_of, options.keys)
  for name, text in pairs(options.files or {}) do
    files.write(directory .. "/" .. name, text)
  end
  argv.env = options.env or {}
  argv.env.PYTHONPATH = ("%s:%s:%s:%s"):format(directory, options.path or directory, M.data, paths.python)
  argv.cwd, argv.timeout = directory, options.timeout
  for i, argument in ipairs(argv) do
    argv[i] = argument:gsub("^INI$", ini)
  end
  local result = process.run(argv)
  result.said, result.ini, result.directory = said(result), ini, directory
  return result
end

--- Runs the Python host with these hooks: { ["postfork.lua"] = text }. options: modules (what the application imports before the fork),
--- env, keys (lines of the ini), files (written beside the ini; modules too), path (a directory with modules), timeout.
---@return table result of process.run, with said (list of lines), ini, directory
function M.in_python(scripts_of, options)
  options = options or {}
  return run({ M.python, M.data .. "/host.py", "INI", unpack(options.modules or { "shop" }) }, scripts_of, options)
end

--- The same in the Ruby host; options.modules are files to load.
function M.in_ruby(scripts_of, options)
  options = options or {}
  return run({ M.ruby, M.data .. "/host.rb", paths.library, "INI", unpack(options.modules or { M.data .. "/shop.rb" }) }, scripts_of,
    options)
end

--- The same in a C program with a Python inside that forks past it.
function M.in_raw_host(scripts_of)
  return run({ "/usr/bin/luajit", M.data .. "/raw_host.lua", paths.library, "INI" }, scripts_of, {})
end

return M
