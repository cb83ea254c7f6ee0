-- SPDX-License-Identifier: MIT
--
-- Talking to servers on the loopback interface, with timeouts. Runs in the test process.
local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local M = {}

http.TIMEOUT = 5

--- GET http://127.0.0.1:PORT/PATH. nil and a message where nobody answers in time (5 s).
---@param port integer
---@param path? string "/"
---@param headers? table<string, string>
---@return integer? status
---@return string body
---@return table? headers
function M.get(port, path, headers)
  local pieces = {}
  local ok, status, got = http.request {
    url = ("http://127.0.0.1:%d%s"):format(port, path or "/"),
    headers = headers,
    sink = ltn12.sink.table(pieces),
    redirect = false,
  }
  if not ok then
    return nil, tostring(status)
  end
  return status, table.concat(pieces), got
end

--- Waits until GET answers 200, and returns the body.
---@param port integer
---@param path? string
---@param seconds? number
---@return string body
function M.wait(port, path, seconds)
  return wait.eventually(("port %d answers"):format(port), function()
    local status, body = M.get(port, path)
    return status == 200 and (body ~= "" and body or true), tostring(status) .. " " .. tostring(body)
  end, seconds)
end

-- Below those that the kernel gives to clients, and from a place of this process's own: others start servers at the same time.
local FIRST_PORT, LAST_PORT = 10000, 32767
local port = FIRST_PORT + unistd.getpid() * 64 % (LAST_PORT - FIRST_PORT)

--- A TCP port that is free, and that this process has not named lately.
---@return integer
function M.free_port()
  for _ = FIRST_PORT, LAST_PORT do
    port = port < LAST_PORT and port + 1 or FIRST_PORT
    local server = socket.bind("127.0.0.1", port)
    if server then
      server:close()
      return port
    end
  end
  error("no port is free", 2)
end

return M
