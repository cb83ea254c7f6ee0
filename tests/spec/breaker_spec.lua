-- SPDX-License-Identifier: MIT
--
-- What ends the wait of a worker that is to be retired, by the number of its sleeps: a wait of 5 s that nothing ends has a hundred.
local support = require "support"

-- The system calls by which it slept, as strace writes them.
local function sleeps(how)
  local trace = support.tmpdir() .. "/trace"
  support.must_run { "strace", "-qq", "-e", "trace=clock_nanosleep,nanosleep", "-e", "signal=none", "-o", trace, "/usr/bin/luajit",
    support.paths.data .. "/breaker_waits.lua", how, cwd = support.paths.root .. "/tests",
    env = { FORKSAFE_BUILD = support.paths.build, LUA_PATH = "./?.lua;./?/init.lua;;" } }
  local list = {}
  for line in support.read(trace):gmatch "[^\n]+" do
    table.insert(list, line)
  end
  return list
end

describe("a worker that waits before it retires", function()
  it("sleeps in slices until its time has come", function()
    local list = sleeps "nothing"
    assert.is_true(#list >= 2 and #list <= 3, table.concat(list, "\n"))
    assert.truthy(list[1]:find("tv_nsec=50000000", 1, true), list[1])
  end)

  it("does not sleep at all where its server has told it to end with a signal that it blocks", function()
    assert.same({}, sleeps "pending")
  end)

  it("hears a signal that it handles: the sleep that was interrupted is its last", function()
    local list = sleeps "handled"
    assert.truthy(list[#list]:find("ERESTART", 1, true), table.concat(list, "\n"))
    assert.is_true(#list < 10, #list .. " sleeps")
  end)
end)
