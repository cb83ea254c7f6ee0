-- SPDX-License-Identifier: MIT
--
-- libforksafe.so keeps its LuaJIT to itself: a host with PUC Lua 5.3 and forksafe both work, whichever came first.
local support = require "support"

local host = support.paths.build .. "/tests/lua53_host"
local lua53, jemalloc = "liblua5.3.so.0", "libjemalloc.so.2"

-- A library that only LuaJIT has, and an error that unwinds its stack.
local script = [[
return function(event)
  local ok, message = pcall(error, { code = bit.lshift(1, 4) })
  assert(not ok and message.code == 16)
  forksafe.log.info("%s in a %s by %s", event.name, event.role, _VERSION)
end
]]

-- Runs the host to its end, and returns what it printed.
local function run_host(order, preload)
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/postfork.lua", script)
  support.write(directory .. "/hooks/masterready.lua", script)
  local ini = support.write(directory .. "/host.ini", "[forksafe]\ninstance = host\nscripts = hooks\n")
  return support.must_run { host, order, support.paths.library, ini, env = { LD_PRELOAD = preload or false } }
end

local function assert_both_work(output, first)
  local function has(line)
    assert.truthy(output:find(line, 1, true), ("no '%s' in:\n%s"):format(line, output))
  end
  has "forksafe[host]: ApplicationMasterReady in a master by Lua 5.1"
  has("master beside forksafe: Lua 5.3, run " .. first)
  has("worker before the hook: Lua 5.3, run " .. first + 1)
  has "forksafe[host]: ApplicationPostFork in a worker by Lua 5.1"
  has("worker after the hook: Lua 5.3, run " .. first + 2)
  has("master after the fork: Lua 5.3, run " .. first + 1)
  assert.matches("done\n$", output)
end

describe("forksafe in a host with PUC Lua 5.3", function()
  it("works beside a Lua that was loaded globally before it", function()
    assert_both_work(run_host "before", 2)
  end)

  it("works beside a Lua that is loaded globally after it", function()
    assert_both_work(run_host "after", 1)
  end)

  it("works beside a Lua in the program's own scope", function()
    assert_both_work(run_host("before", lua53), 2)
    assert_both_work(run_host("after", lua53), 1)
  end)

  it("works under a preloaded jemalloc", function()
    assert_both_work(run_host("before", jemalloc), 2)
    assert_both_work(run_host("after", jemalloc), 1)
    assert_both_work(run_host("after", lua53 .. ":" .. jemalloc), 1)
  end)
end)

describe("libforksafe.so", function()
  it("neither exports nor imports a symbol of Lua", function()
    local listing = support.must_run { "nm", "-D", support.paths.library }
    assert.matches(" T forksafe_open", listing)
    for _, prefix in ipairs { "lua_", "luaL_", "luaJIT_", "luaopen_" } do
      assert.is_nil(listing:match("[^\n]* " .. prefix .. "[^\n]*"))
    end
  end)

  it("exports nothing but the functions of forksafe.h", function()
    local listing = support.must_run { "nm", "-D", "--defined-only", support.paths.library }
    local header = support.read(support.paths.include .. "/forksafe/forksafe.h")
    for name in listing:gmatch " [BDRTVW] ([^\n@]+)" do
      assert.truthy(header:find("[ *]" .. name .. "%("), name .. " is exported and not in forksafe.h")
    end
  end)

  it("does not need liblua or libluajit to be loaded", function()
    local dynamic = support.must_run { "readelf", "-d", support.paths.library }
    assert.is_nil(dynamic:match "NEEDED[^\n]*lua[^\n]*")
    assert.matches("FLAGS_1[^\n]*NODELETE", dynamic)
  end)
end)
