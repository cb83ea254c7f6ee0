-- SPDX-License-Identifier: MIT
--
-- Unicorn for the specs: Debian's own, with one line in its configuration, a Paste ini and the slow application of tests/data/rack.
local files = require "support.files"
local http = require "support.http"
local paths = require "support.paths"
local process = require "support.process"
local servers = require "support.server"

local M = {}

local UNICORN = "/usr/bin/unicorn"
local APPLICATION = paths.data .. "/rack/slow.ru"

--- The one line (and the require) in Unicorn's configuration.
M.ATTACH = "require 'forksafe/unicorn'\nForksafe::Unicorn.attach(self, 'production.ini')\n"

--- Starts Unicorn with 3 workers.
---@param t table hooks (text by file name), attach (instead of ATTACH), config (more lines of the configuration), no_pid = true (no pid
--- file), keys (lines of the ini), package (instead of the build's), env, arguments (a list)
---@return table server a process with directory, ini and port
function M.start(t)
  local directory, port = servers.application(t.hooks), http.free_port()
  files.write(directory .. "/unicorn.rb", ("worker_processes 3\nlisten '127.0.0.1:%d'\n%s%s%s"):format(port,
    t.no_pid and "" or "pid 'pid'\n", t.attach or M.ATTACH, t.config or ""))
  files.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\n" .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  local env = { RUBYLIB = t.package or paths.ruby }
  for name, value in pairs(t.env or {}) do
    env[name] = value:gsub("HERE", directory)
  end
  local argv = { UNICORN, "-c", "unicorn.rb", APPLICATION, env = env, cwd = directory, stop_signal = "QUIT" }
  for _, argument in ipairs(t.arguments or {}) do
    table.insert(argv, 2, argument)
  end
  local server = process.spawn(argv)
  server.directory, server.ini, server.port = directory, directory .. "/production.ini", port
  return server
end

return M
