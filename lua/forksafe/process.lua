-- SPDX-License-Identifier: MIT
--
-- `event.process`, the audit's findings and the remedies, and `forksafe.mark_safe`. Run once by init.lua, with the C
-- functions it stands on (runtime/core/vm_process.c) as its argument.

local native = ...

local error, format, ipairs, next, pairs, tostring, type = error, string.format, ipairs, next, pairs, tostring, type

-- Of remedy.h.
local OBJECTS = { epoll = 1, eventfd = 2, timerfd = 4, socketpair = 8 }

local M = {}

local process = {}

local function count_of(what, count, why)
  if not count then
    error(what .. ": " .. why, 3)
  end
  return count
end

---What was found not safe to fork so far, as the debug object has it.
function process:findings() -- luacheck: ignore 212
  local object = native.debug_object()
  return object and object.findings or {}
end

---Replaces inherited connections out of the server by dead sockets. Worker only.
function process:quarantine(options) -- luacheck: ignore 212
  if type(options) ~= "table" or (options.peer == nil) == (options.all == nil) then
    error('quarantine takes { peer = ":5432" } or { all = true }', 2)
  end
  for name, value in pairs(options) do
    if not (name == "peer" and type(value) == "string" and value ~= "") and not (name == "all" and value == true) then
      error(format("quarantine: '%s' is not understood; it takes peer = \":5432\" or all = true", tostring(name)), 2)
    end
  end
  return count_of("quarantine", native.quarantine(options.peer))
end

---Gives the process private copies of inherited kernel objects. Worker only.
function process:unshare(kinds) -- luacheck: ignore 212
  local bits = 0
  if type(kinds) ~= "table" or #kinds == 0 then
    error('unshare takes a list such as { "epoll", "eventfd", "timerfd", "socketpair" }', 2)
  end
  for _, kind in ipairs(kinds) do
    if not OBJECTS[kind] then
      error(format("unshare: '%s' cannot be copied; epoll, eventfd, timerfd and socketpair can", tostring(kind)), 2)
    end
    bits = bits % (2 * OBJECTS[kind]) >= OBJECTS[kind] and bits or bits + OBJECTS[kind]
  end
  return count_of("unshare", native.unshare(bits))
end

M.process = process

-- Which kinds of findings a member of a mark is about.
local SUBJECTS = {
  peer = { "shared-connection" },
  thread = { "lost-thread" },
  path = { "shared-connection", "shared-database", "shared-file", "inherited-device" },
}

local function subject_of(name, value)
  if type(value) ~= "string" or value == "" then
    error(format("forksafe.mark_safe: %s is a text", name), 3)
  end
  return name == "peer" and value:sub(1, 1) == ":" and "*" .. value or value
end

---Tells the audit that something is known and safe. At file level of a script.
function M.mark_safe(mark)
  if type(mark) ~= "table" or next(mark) == nil then
    error('forksafe.mark_safe takes { peer = ":5432" }, { thread = "name" }, { path = "/srv/*" } or { kind = "shared-epoll" }', 2)
  end
  local kinds, subject
  for name, value in pairs(mark) do
    if name ~= "kind" and (not SUBJECTS[name] or subject) then
      error(format("forksafe.mark_safe: '%s' is not understood; it takes kind and one of peer, thread and path", tostring(name)), 2)
    elseif name ~= "kind" then
      kinds, subject = SUBJECTS[name], subject_of(name, value)
    end
  end
  kinds = mark.kind and { mark.kind } or kinds
  for _, kind in ipairs(kinds) do
    local known = type(kind) == "string" and native.mark(subject and kind .. ":" .. subject or kind)
    if known and not subject then
      native.mark(kind .. ":*")
    elseif not known then
      error(format("forksafe.mark_safe: '%s' is no kind of finding; `forksafe debug` prints the kind of each", tostring(kind)), 2)
    end
  end
end

return M
