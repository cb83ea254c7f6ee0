-- SPDX-License-Identifier: MIT
--
-- Talking to a real `forksafe serve`: starting one, requests as they go over the wire, and listening to its events.
-- `local serve = require "support.serve"`. Runs in the test process.
local cjson = require "cjson"
local socket = require "socket"
local unix = require "socket.unix"
local paths = require "support.paths"
local process = require "support.process"
local scope = require "support.scope"
local wait = require "support.wait"

local M = {}

local SECONDS = 5 -- how long an answer may take

--- Starts `forksafe serve` on a free port: start{ target, "more", "arguments", listen =, env = }. The process has .port or .path.
---@param t table
function M.start(t)
  local argv = { paths.command, "serve", "--listen", t.listen or "127.0.0.1:0", env = t.env }
  for _, argument in ipairs(t) do
    table.insert(argv, argument)
  end
  local self = process.spawn(argv)
  self.url = self:wait_for "forksafe serve: ([^\n]+)\n"
  self.port = tonumber(self.url:match ":(%d+)/$")
  self.path = self.url:match "^unix:(.+)$"
  return self
end

--- A connection to it, closed when the test ends.
function M.connect(server)
  local connection
  if server.path then
    connection = unix()
    assert(connection:connect(server.path))
  else
    connection = assert(socket.connect("127.0.0.1", server.port))
  end
  connection:settimeout(SECONDS)
  scope.defer(function()
    connection:close()
  end)
  return connection
end

local function request_text(server, method, path, headers)
  local all = { Host = not server.path and "127.0.0.1:" .. server.port or "forksafe" }
  for name, value in pairs(headers or {}) do
    all[name] = value
  end
  local lines = { ("%s %s HTTP/1.1"):format(method, path) }
  for name, value in pairs(all) do
    table.insert(lines, value and name .. ": " .. value)
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- Status, and the headers by lower-case name.
local function read_head(connection)
  local line = connection:receive "*l"
  local status = line and tonumber(line:match "^HTTP/1%.1 (%d+)")
  if not status then
    return nil, line
  end
  local headers = {}
  for text in function() return connection:receive "*l" end do
    if text == "" then
      break
    end
    local name, value = text:match "^([^:]+):%s*(.-)$"
    headers[name:lower()] = value
  end
  return status, headers
end

--- Sends one request, and returns status, body and headers as they came; nil where there was no answer.
---@param server table
---@param method string
---@param path string
---@param headers? table<string, string|false> false: without it
function M.request(server, method, path, headers)
  local connection = M.connect(server)
  local all = { Connection = "close" }
  for name, value in pairs(headers or {}) do
    all[name] = value
  end
  connection:send(request_text(server, method, path, all))
  local status, got = read_head(connection)
  if not status then
    return nil, got
  end
  local body, _, rest = connection:receive "*a"
  connection:close()
  return status, body or rest, got
end

--- GET; must answer 200. The body, decoded where it is JSON.
function M.get(server, path)
  local status, body, headers = M.request(server, "GET", path)
  if status ~= 200 then
    wait.fail(("%s: %s %s"):format(path, tostring(status), tostring(body)), 2)
  end
  return headers["content-type"] == "application/json" and cjson.decode(body) or body
end

--- A client of /events. client.messages is what came: { id =, event =, data = (decoded), text = }.
local Client = {}
Client.__index = Client

--- Listens: listen(server, { last_id = "123", path = "/events?instance=NAME" }).
function M.listen(server, options)
  options = options or {}
  local self = setmetatable({ connection = M.connect(server), raw = "", text = "", messages = {}, comments = 0 }, Client)
  self.connection:send(request_text(server, "GET", options.path or "/events", { ["Last-Event-ID"] = options.last_id }))
  self.status, self.headers = read_head(self.connection)
  self.connection:settimeout(0.02)
  return self
end

function Client:close()
  self.connection:close()
end

-- Takes whole chunks out of what was received.
local function dechunk(self)
  while true do
    local size, from = self.raw:match "^(%x+)[^\r\n]*\r\n()"
    local length = size and tonumber(size, 16)
    if not size or #self.raw < from + length + 1 then
      return
    end
    if length == 0 then
      self.ended = true
      return
    end
    self.text = self.text .. self.raw:sub(from, from + length - 1)
    self.raw = self.raw:sub(from + length + 2)
  end
end

local function take_message(self, block)
  local message = {}
  for line in block:gmatch "[^\n]+" do
    local name, value = line:match "^(%a*):%s?(.*)$"
    if name == "" then
      self.comments = self.comments + 1
    elseif name then
      message[name] = value
    end
  end
  if message.data then
    message.text, message.id = message.data, tonumber(message.id)
    message.data = cjson.decode(message.data)
    table.insert(self.messages, message)
  else
    self.retry = message.retry or self.retry
  end
end

--- Reads what has come; false once the server has ended the stream.
function Client:read()
  local whole, problem, part = self.connection:receive(65536)
  self.raw = self.raw .. (whole or part or "")
  dechunk(self)
  local from = 1
  while true do
    local till, next_from = self.text:find("\n\n", from, true)
    if not till then
      break
    end
    take_message(self, self.text:sub(from, till))
    from = next_from + 1
  end
  self.text = self.text:sub(from)
  self.ended = self.ended or problem == "closed"
  return not self.ended
end

--- The first message for which `check` (a function, or an event's name) is true, waited for.
function Client:wait_for(what, check, seconds)
  if type(check) == "string" then
    local event = check
    check = function(message)
      return message.event == event
    end
  end
  return wait.eventually(what, function()
    self:read()
    for _, message in ipairs(self.messages) do
      if check(message) then
        return message
      end
    end
    return nil, ("%d messages"):format(#self.messages)
  end, seconds)
end

--- Reads until nothing came for a while; no longer than 10 s.
function Client:settle(seconds)
  local deadline, count = wait.now() + (seconds or 0.6), #self.messages
  local last = wait.now() + 10
  while wait.now() < math.min(deadline, last) do
    self:read()
    if #self.messages > count then
      deadline, count = wait.now() + (seconds or 0.6), #self.messages
    end
  end
end

--- Messages of an event, in their order.
function Client:of(event)
  local list = {}
  for _, message in ipairs(self.messages) do
    if message.event == event then
      table.insert(list, message)
    end
  end
  return list
end

return M
