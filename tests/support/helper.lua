-- SPDX-License-Identifier: MIT
--
-- What busted loads before the specs (.busted): a scope around each test, one around each file, and the check that
-- nothing is left running.
local busted = require "busted"
local process = require "support.process"
local scope = require "support.scope"
require "support"

local ORPHAN_SECONDS = 2

local function check_nothing_runs(whose)
  local left = process.end_orphans(ORPHAN_SECONDS)
  if left then
    error(whose .. " left processes running:\n" .. left, 0)
  end
end

busted.before_each(scope.enter)

busted.after_each(function()
  scope.leave()
  check_nothing_runs "the test"
end)

busted.subscribe({ "file", "end" }, function()
  scope.cleanup()
  check_nothing_runs "the file"
  return nil, true
end)
