-- SPDX-License-Identifier: MIT
--
-- forksafe.log puts plain lines together itself, and has string.format for the rest: a line is the same either way.
local scripts = require "support.scripts"

-- Each is logged twice: with its arguments, and as string.format has put it together.
local BODY = [[
  local long = ("x"):rep(700)
  local object = setmetatable({}, { __tostring = function() return "an object" end })
  local whole = { 0, 1, -1, 4711, -2147483648, 2147483647, 2 ^ 31, 2 ^ 53, -2 ^ 53, 99999999999999, 1e14, -1e14, 1e15, 123456789012 }
  local broken = { 0.5, -0.1, -0 / 1, 0 * -1, 1 / 0, -1 / 0, 1e100, 1e-300, 3.14159 }
  local cases = {
    { "worker %s up as process %s, database %s", 1, 4711, "10.0.0.5" }, { "%s", "" }, { "%s", nil }, { "%s%s", true, false },
    { "%d %d", 7, "8" }, { "%s", object }, { "%q", 'a"b' }, { "%5.2f|%-5s|%05d", 1.005, "ab", 42 }, { "%%s %s%%", 1 }, { "%x %i", 255, 3 },
    { "%s", long }, { long .. "%s", 1 }, { ("%s "):rep(#whole), unpack(whole) }, { "a\nb %s", "c\nd" }, { "%s", 1, 2, 3 }, { "%c%s", 65, "b" },
    { "\195\164 %s", "\226\130\172" }, { "%s", ("y"):rep(511) }, { "%s", ("y"):rep(512) }, { "%s", ("y"):rep(5000) },
  }
  for _, list in ipairs { whole, broken } do
    for _, number in ipairs(list) do
      cases[#cases + 1] = { "number %s", number }
    end
  end
  for _, number in ipairs(whole) do
    cases[#cases + 1] = { "integer %d", number }
  end
  for _, case in ipairs(cases) do
    forksafe.log.info(unpack(case, 1, math.max(2, table.maxn(case))))
    forksafe.log.info((string.format(unpack(case, 1, math.max(2, table.maxn(case))))))
  end
  for _, wrong in ipairs { { "%s %s", 1 }, { "%d", "seven" }, { "%y", 1 }, { "%", 1 } } do
    local ok, message = pcall(forksafe.log.info, unpack(wrong))
    local also, expected = pcall(string.format, unpack(wrong))
    assert(not ok and not also and message:find((expected:gsub(" to .*", "")), 1, true), message)
  end
  forksafe.log.info(object)
  forksafe.log.info(42)
]]

describe("a line of forksafe.log", function()
  it("is what string.format makes of it", function()
    local result = scripts.test({ ["postfork.lua"] = "return function()\n" .. BODY .. "end" }, "", { "--event", "postfork" })
    assert.equal(0, result.code, result.stderr)
    local lines = {}
    for line in result.stderr:gmatch "forksafe%[production%-%x+%]: ([^\n]*)" do
      lines[#lines + 1] = line
    end
    assert.equal("42", table.remove(lines))
    assert.equal("an object", table.remove(lines))
    assert.is_true(#lines > 100, result.stderr)
    local groups = table.concat(lines, "\n"):gsub("a\nb c\nd\na\nb c\nd", "a b c d\na b c d") -- the one of three lines
    local previous
    for line in (groups .. "\n"):gmatch "([^\n]*)\n" do
      if previous then
        assert.equal(previous, line)
        previous = nil
      else
        previous = line
      end
    end
    assert.is_nil(previous)
  end)
end)
