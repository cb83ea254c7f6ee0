-- SPDX-License-Identifier: MIT
--
-- A script directory and an ini in a fresh directory, and what `forksafe test` makes of them. Runs in the test process.
local cjson = require "cjson"
local files = require "support.files"
local paths = require "support.paths"
local process = require "support.process"

local M = {}

--- Writes `scripts` ({ ["postfork.lua"] = text }) into hooks/ and a production.ini that names it. `settings` are further lines of
--- [app:main]. Returns the ini's path and its directory.
---@param scripts table<string, string>
---@param settings? string
function M.application(scripts, settings)
  local directory = files.tmpdir()
  files.write(directory .. "/hooks/.keep", "")
  for name, text in pairs(scripts) do
    files.write(directory .. "/hooks/" .. name, text)
  end
  local ini = files.write(directory .. "/production.ini",
    "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n" .. (settings or ""))
  return ini, directory
end

--- Runs `forksafe test` on them: the result of process.run, with `debug`, the debug object, where one was printed, and `directory`.
--- `options` are further arguments of the command and, by name, of process.run.
function M.test(scripts, settings, options)
  local ini, directory = M.application(scripts, settings)
  local argv = { paths.command, "test", "--debug" }
  for name, value in pairs(options or {}) do
    argv[type(name) == "number" and #argv + 1 or name] = value
  end
  argv[#argv + 1] = ini
  local result = process.run(argv)
  result.directory = directory
  result.debug = result.stdout ~= "" and cjson.decode(result.stdout) or nil
  return result
end

--- "postfork=ok" of every subscriber that ran, in the order in which they ran.
function M.outcomes(result)
  local list = {}
  for _, record in ipairs(result.debug and result.debug.records or {}) do
    if type(record.subscriber) == "string" then
      list[#list + 1] = record.subscriber .. "=" .. record.outcome
    end
  end
  return list
end

return M
