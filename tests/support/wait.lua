-- SPDX-License-Identifier: MIT
--
-- Time and failure: bounded waiting, and failing the way an assertion does. Runs in the test process.
local ptime = require "posix.time"

local M = {}

--- Seconds, monotonic.
function M.now()
  local t = ptime.clock_gettime(ptime.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

---@param seconds number
function M.sleep(seconds)
  local whole = math.floor(seconds)
  ptime.nanosleep { tv_sec = whole, tv_nsec = math.floor((seconds - whole) * 1e9) }
end

--- Fails as a busted assertion does (a plain error without busted).
---@param message string
---@param level? integer as of error
function M.fail(message, level)
  local ok, busted = pcall(require, "busted")
  local fail = ok and busted.fail or error
  fail(message, (level or 1) + 1)
end

local function show(value)
  if type(value) ~= "table" then
    return tostring(value)
  end
  local ok, pretty = pcall(require, "pl.pretty")
  return ok and pretty.write(value) or tostring(value)
end

--- Calls `check` until it returns something true, and returns all that it returned. Fails with `what` and what
--- `check` said last after `seconds` (10). An error in `check` counts as a false answer until time is up.
---@param what string "four workers are up"
---@param check fun(): any, any says why not as second value, if it likes
---@param seconds? number
function M.eventually(what, check, seconds)
  seconds = seconds or 10
  local deadline = M.now() + seconds
  local pause = 0.005
  while true do
    local answers = { pcall(check) }
    if answers[1] and answers[2] then
      return unpack(answers, 2)
    end
    if M.now() >= deadline then
      local last = answers[3] ~= nil and answers[3] or answers[2]
      M.fail(("not within %g s: %s; last: %s"):format(seconds, what, show(last)), 2)
    end
    M.sleep(pause)
    pause = math.min(pause * 1.5, 0.1)
  end
end

--- Asserts that the assertions in `fn` do not hold: it must end with a failed assertion, not with another error.
---@param fn fun()
---@return string message of the assertion that failed
function M.fails(fn)
  local ok, failure = pcall(fn)
  if ok then
    M.fail("these assertions hold, and should not", 2)
  end
  local meta = debug.getmetatable(failure)
  if type(failure) ~= "table" or not meta or meta.__type ~= "failure" then
    error("an error, not a failed assertion: " .. show(failure), 2)
  end
  return tostring(failure)
end

return M
