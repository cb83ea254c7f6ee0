-- SPDX-License-Identifier: MIT
--
-- Debian's Apache with a configuration of its own in a fresh directory, and 3 children. Runs in the test process.
local files = require "support.files"
local http = require "support.http"
local paths = require "support.paths"
local process = require "support.process"
local servers = require "support.server"

local MODULES = "/usr/lib/apache2/modules"

local M = { PROGRAM = "/usr/sbin/apache2", GRACEFUL_STOP = 28 } -- SIGWINCH

local CONFIGURATION = [[
ServerRoot "DIR"
ServerName localhost
Listen 127.0.0.1:PORT
PidFile "DIR/pid"
ErrorLog "DIR/log"
Mutex posixsem
User www-data
Group www-data
LoadModule mpm_MPM_module MODULES/mod_mpm_MPM.so
LoadModule authz_core_module MODULES/mod_authz_core.so
LOAD
FORKSAFE
MAIN
]]

-- As many children as StartServers, whatever the load.
local LIMITS = {
  prefork = "StartServers 3\nMinSpareServers 3\nMaxSpareServers 4\nServerLimit 3\nMaxRequestWorkers 3\n",
  event = "StartServers 3\nServerLimit 3\nThreadsPerChild 2\nThreadLimit 2\nMaxRequestWorkers 6\nMinSpareThreads 6\nMaxSpareThreads 8\n",
}
LIMITS.worker = LIMITS.event

-- The lines that load this module and mod_lua; t.lua: "before", "after" (the default), "none".
local function loading(t)
  local ours = t.load or "LoadModule forksafe_module " .. (t.module or paths.apache_module)
  local theirs = ("LoadModule lua_module %s/mod_lua.so\nLuaMapHandler / %s/apache/pid.lua handle"):format(MODULES, paths.data)
  if t.lua == "none" then
    return ours
  end
  return t.lua == "before" and theirs .. "\n" .. ours or ours .. "\n" .. theirs
end

--- Writes httpd.conf anew: t.mpm ("prefork"); t.load (another line than that of the module), t.forksafe (another than `Forksafe
--- production.ini`), t.main (more lines), t.lua.
function M.configure(server, t)
  local mpm = t.mpm or "prefork"
  local values = {
    DIR = server.directory, PORT = server.port, MPM = mpm, MODULES = MODULES, LOAD = loading(t),
    FORKSAFE = t.forksafe or "Forksafe production.ini", MAIN = LIMITS[mpm] .. (t.main or ""),
  }
  files.write(server.directory .. "/httpd.conf", (CONFIGURATION:gsub("%f[%u]%u+%f[%U]", values):gsub("mpm_MPM", "mpm_" .. mpm)))
end

--- Starts Apache with 3 children: t of configure; t.hooks (text by file name), t.keys (lines of the ini), t.env, t.arguments (instead of
--- -DFOREGROUND).
---@return table server as support.server has it
function M.start(t)
  local directory, port = servers.application(t.hooks), http.free_port()
  files.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\n" .. (t.keys or "forksafe.scripts = %(here)s/hooks") .. "\n")
  local argv = { M.PROGRAM, "-f", directory .. "/httpd.conf", unpack(t.arguments or { "-DFOREGROUND" }) }
  argv.env = {}
  for name, value in pairs(t.env or {}) do
    argv.env[name] = value:gsub("DIR", directory)
  end
  M.configure({ directory = directory, port = port }, t)
  files.write(directory .. "/log", "")
  local server = process.spawn(argv)
  server.directory, server.ini, server.port, server.log = directory, directory .. "/production.ini", port, directory .. "/log"
  return server
end

return M
