-- SPDX-License-Identifier: MIT
--
-- Puma for the specs: Debian's own, with the plugin in puma.rb, a Paste ini and the slow application of tests/data/rack.
local files = require "support.files"
local http = require "support.http"
local paths = require "support.paths"
local process = require "support.process"
local servers = require "support.server"

local M = {}

local PUMA = "/usr/bin/puma"
local APPLICATION = paths.data .. "/rack/slow.ru"

--- Lines of puma.rb for 3 workers.
M.THREE = "workers 3\n"

-- A directory with hooks (text by file name), puma.rb and production.ini.
local function application(t, port)
  local directory = servers.application(t.hooks)
  files.write(directory .. "/puma.rb", ("plugin :forksafe\n%srackup %q\nbind 'tcp://127.0.0.1:%d'\nthreads 1, 2\n%s"):format(
    t.no_ini and "" or "forksafe_ini 'production.ini'\n", APPLICATION, port, t.config or M.THREE))
  files.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\n"
    .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  return directory
end

--- Starts Puma with 3 workers.
---@param t table hooks (text by file name), config (lines of puma.rb instead of THREE), keys (lines of the ini), no_ini = true, package
--- (instead of the build's), env
---@return table server a process with directory, ini and port
function M.start(t)
  local port = http.free_port()
  local directory = application(t, port)
  local env = { RUBYLIB = t.package or paths.ruby }
  for name, value in pairs(t.env or {}) do
    env[name] = value:gsub("HERE", directory)
  end
  local server = process.spawn { PUMA, "-C", "puma.rb", env = env, cwd = directory, stop_signal = "INT" }
  server.directory, server.ini, server.port = directory, directory .. "/production.ini", port
  return server
end

return M
