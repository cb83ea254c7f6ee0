-- SPDX-License-Identifier: MIT
--
-- A real PostgreSQL (Debian's 15) of the test's own: a fresh directory, loopback only, as the user postgres, ended with the test.
-- Runs in the test process.
local pwd = require "posix.pwd"
local files = require "support.files"
local http = require "support.http"
local process = require "support.process"
local scope = require "support.scope"
local wait = require "support.wait"

local M = {}

local PROGRAMS = "/usr/lib/postgresql/15/bin/"
local AS_POSTGRES = { "/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "/usr/bin/env", "-u", "LD_PRELOAD",
  "HOME=/nonexistent" }

local CONFIGURATION = [[
listen_addresses = '127.0.0.1'
port = PORT
unix_socket_directories = 'DIRECTORY'
max_connections = 60
shared_buffers = 1MB
autovacuum = off
fsync = off
ssl = TLS
]]

local Postgres = {}
Postgres.__index = Postgres

local function as_postgres(argv)
  local all = { timeout = argv.timeout, unpack(AS_POSTGRES) }
  for _, argument in ipairs(argv) do
    table.insert(all, argument)
  end
  return all
end

-- A key and a certificate of the server's own, for clients that do not check who signed it.
local function make_certificate(data)
  process.must_run(as_postgres { "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
    "-days", "2", "-subj", "/CN=localhost", "-keyout", data .. "/server.key", "-out", data .. "/server.crt" })
end

--- Starts it and waits until it answers. One with the same name serves all of a file's tests when made in lazy_setup.
---@param t? table tls = true: it speaks TLS
---@return table server port, directory, process; url(driver), query(sql), backends(), stop()
function M.start(t)
  t = t or {}
  local user = assert(pwd.getpwnam "postgres", "there is no user postgres: postgresql is not installed")
  local directory, port = files.tmpdir(), http.free_port()
  files.give(directory, user.pw_uid, user.pw_gid)
  local data = directory .. "/data"
  process.must_run(as_postgres { PROGRAMS .. "initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-D", data,
    timeout = 120 })
  if t.tls then
    make_certificate(data)
  end
  local values = { PORT = port, DIRECTORY = directory, TLS = t.tls and "on" or "off" }
  local file = assert(io.open(data .. "/postgresql.conf", "a"))
  file:write((CONFIGURATION:gsub("%u%u+", values)))
  file:close()
  local argv = as_postgres { PROGRAMS .. "postgres", "-D", data }
  argv.stop_signal = "INT" -- fast: clients are cut off
  local self = setmetatable({ port = port, directory = directory, process = process.spawn(argv), tls = t.tls }, Postgres)
  wait.eventually("PostgreSQL answers", function()
    return process.run(as_postgres { PROGRAMS .. "pg_isready", "-q", "-h", "127.0.0.1", "-p", tostring(port) }).code == 0,
      self.process:output()
  end, 30)
  return self
end

--- The same server for all tests of a file (made at the first call outside or inside a test).
function M.shared(t)
  return scope.shared("postgres " .. tostring(t and t.tls), function()
    return M.start(t)
  end)
end

--- What clients connect with.
---@param driver? string "postgresql+psycopg2" (SQLAlchemy); nil: a URL of libpq
---@return string
function Postgres:url(driver)
  return ("%s://postgres@127.0.0.1:%d/postgres?sslmode=%s"):format(driver or "postgresql", self.port, self.tls and "require" or "disable")
end

--- Runs one statement with psql and returns its rows, fields separated by tabs, as lines.
---@param sql string
---@return string
function Postgres:query(sql)
  return (process.must_run(as_postgres { PROGRAMS .. "psql", "-X", "-q", "-A", "-t", "-F", "\t", "-d", self:url(), "-c", sql }):gsub("\n$", ""))
end

--- The pids of the backends that serve clients (not the one that answers this), sorted.
---@return integer[]
function Postgres:backends()
  local pids = {}
  for pid in self:query("select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() order by pid")
    :gmatch "%d+" do
    table.insert(pids, tonumber(pid))
  end
  return pids
end

function Postgres:stop()
  return self.process:stop()
end

return M
