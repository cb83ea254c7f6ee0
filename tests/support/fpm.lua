-- SPDX-License-Identifier: MIT
--
-- Debian's PHP-FPM under `forksafe run`, with a pool of 3 workers and a script that answers with the pid of its worker, asked over
-- FastCGI. What the specs of the preload adapter share. Runs in the test process.
local servers = require "support.server"
local support = require "support"

local CONFIGURATION = [[
[global]
pid = DIR/fpm.pid
error_log = DIR/log
daemonize = DAEMONIZE
process_control_timeout = 5s
[www]
user = www-data
listen = DIR/socket
pm = static
pm.max_children = 3
]]

local M = {}

--- Starts it: t.daemonize (no), t.hooks (text by file name), t.keys (lines of the ini), t.env.
---@return table server with directory, ini, log and socket
function M.start(t)
  local directory = servers.application(t.hooks)
  local ini = support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\n"
    .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  support.write(directory .. "/pid.php", "<?php echo getmypid();\n")
  support.write(directory .. "/fpm.conf", (CONFIGURATION:gsub("%u%u%u+", { DIR = directory, DAEMONIZE = t.daemonize or "no" })))
  support.write(directory .. "/log", "")
  local server = support.spawn { support.paths.command, "run", ini, "--", "/usr/sbin/php-fpm8.2", "-n", "-y", directory .. "/fpm.conf",
    cwd = directory, env = t.env, stop_signal = "QUIT" }
  server.directory, server.ini, server.socket = directory, ini, directory .. "/socket"
  server.log = directory .. "/log" -- its standard error too, by then
  return server
end

local function ask(server)
  local result = support.run { "/usr/bin/cgi-fcgi", "-bind", "-connect", server.socket,
    env = { SCRIPT_FILENAME = server.directory .. "/pid.php", REQUEST_METHOD = "GET" } }
  return tonumber(result.stdout:match "\r?\n\r?\n(%d+)$")
end

--- The pids of three living workers that answered, sorted.
function M.workers(server)
  local seen = {}
  return support.eventually("3 workers answer", function()
    local list = {}
    for _ = 1, 3 do
      seen[ask(server) or 0] = true
    end
    for pid in pairs(seen) do
      table.insert(list, pid > 0 and support.alive(pid) and pid or nil)
    end
    return #list == 3 and servers.sorted(list), servers.log(server)
  end, 20)
end

return M
