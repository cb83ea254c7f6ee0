-- SPDX-License-Identifier: MIT
--
-- busted's output as tests/run.sh wants it: a line a test, a failure in full where it happens, and at the end
-- "PASSED FAILED" in the file that FORKSAFE_TEST_RESULT names. Pending counts as failed. Runs in the test process.
local busted = require "busted"
local new_handler = require "busted.outputHandlers.base"

local SLOW_SECONDS = 1

local function say(...)
  io.stdout:write(...)
  io.stdout:write "\n"
  io.stdout:flush()
end

local function show_problem(problem)
  local trace = problem.element.trace or problem.trace
  if trace and trace.short_src then
    say("        at ", trace.short_src, ":", tostring(trace.currentline))
  end
  say((("\n" .. tostring(problem.message or "(no message)")):gsub("\n", "\n        "):sub(2)))
end

return function()
  local handler = new_handler()
  local passed, failed = 0, 0

  local function fail(word, problem)
    failed = failed + 1
    say(word, "  ", problem.name)
    show_problem(problem)
  end

  local function test_end(element, _, status)
    if status == "success" then
      passed = passed + 1
      local seconds = element.duration or 0
      local suffix = seconds >= SLOW_SECONDS and (" (%.1f s)"):format(seconds) or ""
      say("ok      ", handler.getFullName(element), suffix)
    elseif status == "pending" then
      fail("PENDING", handler.pendings[#handler.pendings])
    elseif status == "failure" then
      fail("FAILED", handler.failures[#handler.failures])
    else
      fail("FAILED", handler.errors[#handler.errors])
    end
    return nil, true
  end

  -- Outside of a test: a file that does not load, a setup or after_each that threw.
  local function error_elsewhere(element)
    if element.descriptor ~= "it" then
      fail("FAILED", handler.errors[#handler.errors])
    end
    return nil, true
  end

  local function suite_end()
    local path = os.getenv "FORKSAFE_TEST_RESULT"
    if path then
      local file = assert(io.open(path, "w"))
      file:write(passed, " ", failed, "\n")
      file:close()
    end
    return nil, true
  end

  busted.subscribe({ "test", "end" }, test_end)
  busted.subscribe({ "error" }, error_elsewhere)
  busted.subscribe({ "failure" }, error_elsewhere)
  busted.subscribe({ "suite", "end" }, suite_end)
  return handler
end
