-- SPDX-License-Identifier: MIT
--
-- The application of tests/data/pyramid, written for pyramid_forksafe, behind real servers: with only the names in its imports and in its
-- ini changed, or, beside pyramid_forksafe itself, as it is. Runs in the test process.
local cjson = require "cjson"
local files = require "support.files"
local http = require "support.http"
local paths = require "support.paths"
local process = require "support.process"
local wait = require "support.wait"

local M = {}

--- An application and its ini with what a user changes: include and import names.
function M.migrated(text)
  return (text:gsub("(from )pyramid_(forksafe[%w_.]* import)", "%1%2"):gsub("(%.includes = )pyramid_(forksafe)", "%1%2"))
end

--- As they are.
function M.unchanged(text)
  return text
end

local function program(t, directory, port)
  if t.server == "gunicorn" then
    return {
      t.python or "/usr/bin/python3", "-m", "gunicorn", "--config", "config.py", "--workers", tostring(t.workers), "--paste",
      "production.ini", "--bind", "127.0.0.1:" .. port,
    }
  elseif t.server == "uwsgi" then
    return {
      "uwsgi", "--plugins-dir", paths.uwsgi_plugin:match "^(.*)/", "--plugin", "python3", "--die-on-term", "--pythonpath", directory,
      "--http-socket", "127.0.0.1:" .. port, "--processes", tostring(t.workers), "--ini-paste", directory .. "/production.ini",
    }
  end
  return { t.python or "/usr/bin/python3", "pserve.py", "production.ini", tostring(port) }
end

-- A server of Python's own, without forks: what pserve is to a site in development.
local PSERVE = [[
import sys
from wsgiref.simple_server import make_server
from pyramid.paster import get_app
make_server("127.0.0.1", int(sys.argv[2]), get_app(sys.argv[1])).serve_forever()
]]

--- Starts t.server ("gunicorn", "uwsgi", or none) with t.workers (3): t.change (M.migrated), t.includes, t.keys (lines of the ini), t.hooks
--- (Lua by file name; with them forksafe.scripts), t.config (gunicorn's), t.arguments, t.env, t.package, t.python.
---@param t table
---@return table process with `port`, `ini`, `directory`
function M.start(t)
  local change, directory, port = t.change or M.migrated, files.tmpdir(), http.free_port()
  t.workers = t.workers or 3
  files.write(directory .. "/site_of_theirs.py", change(files.read(paths.data .. "/pyramid/their_site.py")))
  files.write(directory .. "/config.py",
    change(t.config or "from pyramid_forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n"))
  files.write(directory .. "/pserve.py", PSERVE)
  local scripts = t.hooks and "forksafe.scripts = %(here)s/hooks\n" or ""
  for name, text in pairs(t.hooks or {}) do
    files.write(directory .. "/hooks/" .. name, text)
  end
  local ini = files.write(directory .. "/production.ini", change("[app:main]\nuse = call:site_of_theirs:main\ncolour = green\npyramid.includes = "
    .. (t.includes or "pyramid_forksafe") .. "\n" .. scripts .. (t.keys or "")))
  local argv = program(t, directory, port)
  for _, argument in ipairs(t.arguments or {}) do
    table.insert(argv, (argument:gsub("DIR", directory)))
  end
  argv.cwd, argv.env = directory, { PYTHONPATH = (t.package or paths.python) .. ":" .. directory }
  for name, value in pairs(t.env or {}) do
    argv.env[name] = value
  end
  local server = process.spawn(argv)
  server.port, server.ini, server.directory = port, ini, directory
  return server
end

--- Asks until `number` processes (3) have answered: what each of them was told and what its debug object says, by pid.
---@param server table
---@param number? integer
---@return table<integer, table>
function M.answers(server, number)
  local found, count = {}, 0
  wait.eventually("all workers answer", function()
    local status, body = http.get(server.port)
    if status ~= 200 then
      return false, server:output():sub(-3000)
    end
    local answer = cjson.decode(body)
    count = count + (found[answer.pid] and 0 or 1)
    found[answer.pid] = answer
    return count >= (number or 3), server:output():sub(-3000)
  end, 20)
  return found
end

return M
