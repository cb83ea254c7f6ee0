-- SPDX-License-Identifier: MIT
--
-- The seeds of tests/fuzz, what its fuzzers have found among them, through the code they are for, under ASan and UBSan. They are built
-- with clang beside the rest (tests/fuzz/run.sh); to fuzz is not for here.
local support = require "support"

describe("under ASan and UBSan every seed comes through", function()
  local result

  lazy_setup(function()
    result = support.run { "bash", support.paths.root .. "/tests/fuzz/run.sh", "--seeds",
      env = { FORKSAFE_BUILD = support.paths.build }, timeout = 500 }
  end)

  local function seeds_of(target)
    local _, count = support.must_run({ "find", support.paths.root .. "/tests/fuzz/seeds/" .. target, "-type", "f" }):gsub("\n", "")
    return count
  end

  for target, what in pairs { ini = "the ini loader", journal = "what reads a journal", script = "the script loader and the VM",
    http = "the HTTP side of forksafe serve" } do
    it(what, function()
      local runs, rest = result.stdout:match("\n" .. target .. " +(%d+) runs,([^\n]*)\n")
      assert.truthy(runs, result.output)
      assert.is_nil(rest:find "FAILED", result.output)
      assert.is_true(tonumber(runs) >= seeds_of(target) and seeds_of(target) > 20, result.output)
    end)
  end

  it("and the run says so", function()
    assert.equal(0, result.code, result.output)
  end)
end)
