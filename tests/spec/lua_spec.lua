-- SPDX-License-Identifier: MIT
--
-- What a script finds: the event, the settings, the library set, the converters; and how it is bounded.
local cjson = require "cjson"
local scripts = require "support.scripts"
local support = require "support"

local test, outcomes = scripts.test, scripts.outcomes

-- Runs the body of a postfork subscriber; fails with what the command said.
local function passes(body, settings, options)
  local arguments = { "--event", "postfork" }
  for name, value in pairs(options or {}) do
    arguments[name] = value
  end
  local result = test({ ["postfork.lua"] = "return function(event)\n" .. body .. "\nend" }, settings, arguments)
  assert.equal(0, result.code, result.stderr)
  return result
end

local function fails_with(message, body, settings)
  local result = test({ ["postfork.lua"] = "return function(event)\n" .. body .. "\nend" }, settings, { "--event", "postfork" })
  assert.equal(1, result.code, result.stderr)
  assert.truthy(result.stderr:find(message, 1, true), result.stderr)
  return result
end

describe("an event", function()
  it("carries name, registry, container, hook, process and slot", function()
    passes [[
      assert(event.name == "ApplicationPostFork" and event.container == "test" and event.hook == "containers.test.post_fork")
      assert(event.pid > 0 and event.ppid > 0 and event.worker == 1 and event.role == "worker" and event.generation == 1)
      assert(event.forked == false and event.app_loaded == true and event.child == nil)]]
  end)

  it("of a child's end carries pid, worker, exit and signal", function()
    local result = test({ ["childexit.lua"] = [[return function(event)
      assert(event.role == "master" and event.child.pid > 0 and event.child.worker == 1 and event.child.exit == 0 and event.child.signal == nil)
    end]] }, "", { "--event", "childexit" })
    assert.equal(0, result.code, result.stderr)
  end)

  it("has the debug object as registry.forksafe, built when it is looked at, and as JSON", function()
    passes [[
      local debug_state = event.registry.forksafe
      assert(debug_state == event.registry.forksafe)
      assert(debug_state.schema == "forksafe.debug/1" and debug_state.status == "attempting auto-configure")
      assert(debug_state.environment == nil and debug_state["autoconfigure.log"][1] == "uWSGI not available")
      assert(debug_state.executed_hooks[1][1] == "containers.test.post_fork" and debug_state.executed_hooks[1][2] == event.name)
      assert(debug_state.records[1].outcome == "running" and debug_state.records[1].pid == event.pid)
      assert(forksafe.debug_json():find('"schema": ?"forksafe.debug/1"'))]]
  end)
end)

describe("an event that a script has changed", function()
  it("is whole again for the next firing, and none of the script's metamethods run there", function()
    local result = test({
      ["childexit.lua"] = "return function(event) event.child, event.pid = nil, nil\n"
        .. "setmetatable(event, { __newindex = function() while true do end end }) end",
      ["metrics.lua"] = "forksafe.subscribe('ApplicationChildExit', function(event) assert(event.child == nil) end)",
    }, "", { "--event", "childexit", timeout = 10 })
    assert.equal(0, result.code, result.stderr)
    local host = support.run { support.paths.build .. "/tests/reentrancy_host", "signal", (scripts.application({
      ["postfork.lua"] = "local ffi = require 'ffi'\nffi.cdef 'int raise(int);'\nreturn function() ffi.C.raise(10) ffi.C.raise(10) end",
      ["childexit.lua"] = "return function(event)\nforksafe.log.info('end of %s', event.child.pid)\nevent.child, event.pid = nil, nil\n"
        .. "setmetatable(event, { __newindex = function() while true do end end }) end",
    }, "forksafe.lua_libs = full\n")), timeout = 10 }
    assert.equal(2, select(2, host.stderr:gsub("end of 77", "")), host.stderr)
  end)
end)

describe("registry.settings", function()
  it("are strings, read by name and walked by pairs", function()
    passes([[
      local settings, names = event.registry.settings, {}
      assert(settings["db.host"] == "10.0.0.5" and settings.workers == "4" and settings.none == nil)
      for name, value in pairs(settings) do names[#names + 1] = name .. "=" .. type(value) end
      table.sort(names)
      assert(table.concat(names, " ") == "db.host=string forksafe.scripts=string workers=string", table.concat(names, " "))]],
      "db.host = 10.0.0.5\nworkers = 4\n")
  end)

  it("are read-only, and say so where it was tried", function()
    fails_with("postfork.lua:2: registry.settings is read-only: 'db.host' was not set", "event.registry.settings['db.host'] = 'x'", "db.host = 10.0.0.5\n")
    fails_with("registry.settings is read-only", "event.registry.settings.new = 1")
    fails_with("cannot change a protected metatable", "setmetatable(event.registry.settings, {})")
  end)

  it("never stand in an error text", function()
    local result = fails_with("<db.password>", "error('cannot reach ' .. event.registry.settings['db.password'])", "db.password = hunter2secret\n")
    assert.falsy((result.stderr .. result.stdout):find("hunter2secret", 1, true))
    local shared = fails_with("<db.password>", "error('cannot reach ' .. event.registry.global_conf['db.password'])", "[DEFAULT]\ndb.password = hunter2secret\n")
    assert.falsy((shared.stderr .. shared.stdout):find("hunter2secret", 1, true))
    local url = fails_with("<db.url>", "error('no ' .. event.registry.settings['db.url']:match(':([^:@]+)@'))", "db.url = postgresql://u:pa55phrase@h/d\n")
    assert.falsy((url.stderr .. url.stdout):find("pa55phrase", 1, true))
  end)
end)

describe("an error text", function()
  it("keeps its places where a setting has a word of the scripts' path", function()
    fails_with("/hooks/postfork.lua:2: boom", "error('boom')", "directory = hooks\nevent = postfork\n")
  end)

  it("is not cut where it has a NUL, and a log line neither", function()
    fails_with("before after", "error('before\\0after')")
    local result = passes("forksafe.log.info('one\\0two')")
    assert.truthy(result.stderr:find("two\n", 1, true), result.stderr)
  end)

  it("that is cut ends in three dots", function()
    fails_with("...\n", "error(('x\\n'):rep(5000))")
  end)
end)

describe("the environment", function()
  it("is read by name, and its values are kept out of error texts", function()
    passes("assert(forksafe.env('SHIP_TOKEN') == 'tok-123456' and forksafe.env('NOT_THERE') == nil)", "", { env = { SHIP_TOKEN = "tok-123456" } })
    local result = test({ ["postfork.lua"] = "local t = forksafe.env('SHIP_TOKEN')\nreturn function() error(t) end" }, "", { env = { SHIP_TOKEN = "tok-123456" } })
    assert.truthy(result.stderr:find("<SHIP_TOKEN>", 1, true), result.stderr)
    assert.falsy((result.stderr .. result.stdout):find("tok-123456", 1, true))
  end)

  it("stays as it was when the scripts were loaded", function()
    passes("local ffi = require 'ffi'\nffi.cdef 'int setenv(const char *, const char *, int);'\nffi.C.setenv('SHIP_TOKEN', 'changed', 1)\n"
      .. "assert(os.getenv('SHIP_TOKEN') == 'changed' and forksafe.env('SHIP_TOKEN') == 'tok-123456')",
      "forksafe.lua_libs = full\n", { env = { SHIP_TOKEN = "tok-123456" } })
  end)
end)

describe("the converters", function()
  local cases = cjson.decode(support.read(support.paths.root .. "/tests/data/paste_cases.json")).converters
  for index, case in ipairs(cases) do
    it(("answer case %d (%s) as the original software"):format(index, case.fn), function()
      local input = case["in"]
      local source = input == cjson.null and "nil" or type(input) == "string" and ("%q"):format(input)
        or type(input) == "table" and "{'" .. table.concat(input, "','") .. "'}" or tostring(input)
      local call = case.fn == "asbool" and "forksafe.asbool(" .. source .. ")" or "table.concat(forksafe.aslist(" .. source .. ", false), '|')"
      local expected = case.fn == "asbool" and tostring(case.out) or table.concat(case.out, "|")
      passes(("local got = tostring(%s)\nassert(got == %q, got)"):format(call, expected))
    end)
  end

  it("split a list on white space, and keep its commas", function()
    passes("assert(table.concat(forksafe.aslist(' a, b\\n c '), '|') == 'a,|b|c')")
  end)
end)

describe("the safe library set", function()
  it("has Lua's own parts, and nothing that opens, loads bytecode or compiles", function()
    passes [[
      for _, name in ipairs { "io", "os", "ffi", "package", "debug", "jit", "dofile", "loadfile", "newproxy", "gcinfo", "module" } do
        assert(_G[name] == nil and getfenv(0)[name] == nil, name)
      end
      assert(string.dump == nil and not pcall(require, "jit") and not pcall(require, "ffi"))
      assert(bit.bor(1, 2) == 3 and table.concat({1, 2}, ",") == "1,2" and math.floor(1.5) == 1)
      assert(coroutine.wrap(function() return 7 end)() == 7 and collectgarbage("count") > 0 and not pcall(collectgarbage))
      assert(load("return 1")() == 1 and loadstring("return ...")(5) == 5 and not pcall(load, function() end))]]
  end)

  it("refuses bytecode in load", function()
    local code = string.dump(loadstring("return 1")):gsub(".", function(c) return ("\\%03d"):format(c:byte()) end)
    passes("local f, message = load('" .. code .. "')\nassert(f == nil and message:find('mode'), message)")
  end)

  it("prints to the log, format characters and lines included", function()
    local result = passes "print('100%s', 1)\nforksafe.log.info('100%s')\nforksafe.log.warning('a\\nb\\27[31m')\nforksafe.log.debug('not seen')"
    assert.truthy(result.stderr:find("forksafe%[production%-%x+%]: 100%%s\t?%s1\n"), result.stderr)
    assert.truthy(result.stderr:find("]: 100%s\n", 1, true))
    assert.truthy(result.stderr:find("]: a\nforksafe[production-", 1, true))
    assert.falsy(result.stderr:find("\27", 1, true))
    assert.falsy(result.stderr:find("not seen", 1, true))
  end)

  it("grows with lua_libs = full, still without the JIT", function()
    passes("assert(io.open and os.time and debug.getinfo and package.path and require('ffi').new and not jit)\nassert(not pcall(require, 'jit'))", "forksafe.lua_libs = full\n")
  end)
end)

describe("a failing subscriber", function()
  it("stops nobody else, and is recorded with file, line and traceback", function()
    local result = test({
      ["1.postfork.lua"] = "local function deep() error('boom') end\nreturn function() deep() end",
      ["2.postfork.lua"] = "return function() end",
    }, "", { "--event", "postfork" })
    assert.equal(1, result.code)
    assert.same({ "1.postfork=error", "2.postfork=ok" }, outcomes(result))
    local message = result.debug.processes[1].error
    assert.truthy(message:find("hooks/1.postfork.lua:1: boom\nstack traceback:", 1, true), message)
    assert.truthy(message:find("hooks/1.postfork.lua:2: in function", 1, true), message)
    assert.truthy(result.stderr:find("subscriber '1.postfork' failed: ", 1, true))
  end)

  local thrown = {
    { "nil", "error()", "nil was thrown" }, { "a table", "error({})", "(a table was thrown as error)" },
    { "a number", "error(7)", ":2: 7\n" }, { "a bare number", "error(7, 0)", "7 (a number was thrown as error)" }, { "a table with __tostring", "error(setmetatable({}, {__tostring = function() return 'told' end}))", "told" },
    { "a __tostring that throws", "error(setmetatable({}, {__tostring = function() error('again') end}))", "" },
    { "a __tostring that returns no string", "error(setmetatable({}, {__tostring = function() return {} end}))", "a table was thrown" },
    { "deep recursion", "local function f() return 1 + f() end f()", "stack overflow" },
  }
  for _, row in ipairs(thrown) do
    it("may throw " .. row[1], function()
      fails_with(row[3], row[2])
    end)
  end
end)

describe("time_limit", function()
  local loops = {
    ["a loop"] = "while true do end",
    ["a loop in pcall"] = "while true do pcall(function() while true do end end) end",
    ["a loop in a coroutine"] = "coroutine.wrap(function() while true do end end)()",
    ["a loop in xpcall's handler"] = "xpcall(error, function() while true do end end)",
    ["endless recursion by tail calls"] = "local function f() return f() end f()",
  }
  for what, body in pairs(loops) do
    it("stops " .. what .. ", and the next subscriber runs", function()
      local result = test({ ["1.postfork.lua"] = "return function()\n" .. body .. "\nend", ["2.postfork.lua"] = "return function() end" },
        "forksafe.time_limit = 50ms\n", { "--event", "postfork" })
      assert.same({ "1.postfork=timeout", "2.postfork=ok" }, outcomes(result))
      assert.truthy(result.stderr:find("stopped: it ran longer than forksafe.time_limit allows", 1, true), result.stderr)
    end)
  end

  it("counts for a run that kept the error to its end", function()
    local result = test({ ["a.lua"] = "forksafe.subscribe('ApplicationPostFork', function(event) setmetatable(event, { __call = function() while true do end end }) end, { order = 1 })\n"
      .. "forksafe.subscribe('ApplicationPostFork', pcall, { name = 'kept' })" }, "forksafe.time_limit = 50ms\n", { "--event", "postfork" })
    assert.equal("kept=timeout", outcomes(result)[2], result.stderr)
    assert.truthy(result.stderr:find("subscriber 'kept' failed: stopped: it ran longer", 1, true), result.stderr)
  end)

  it("of 0 is none, and a short one leaves quick subscribers alone", function()
    passes("local n = 0\nfor i = 1, 2e7 do n = n + i end", "forksafe.time_limit = 0\n")
    passes("local n = 0\nfor i = 1, 1000 do n = n + i end", "forksafe.time_limit = 1ms\n")
  end)
end)

describe("memory_limit", function()
  it("stops a hog, and the next subscriber has room", function()
    local result = test({
      ["1.postfork.lua"] = "return function() local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end end",
      ["2.postfork.lua"] = "return function() local t = {} for i = 1, 1000 do t[i] = ('y'):rep(1000) .. i end end",
    }, "forksafe.memory_limit = 8M\nforksafe.time_limit = 20s\n", { "--event", "postfork" })
    assert.same({ "1.postfork=memory", "2.postfork=ok" }, outcomes(result))
    assert.truthy(result.stderr:find("not enough memory", 1, true))
  end)

  it("is not reached by garbage beside what lives", function()
    local result = test({ ["postfork.lua"] = "local keep = {}\nfor i = 1, 10000 do keep[i] = ('x'):rep(1000) .. i end\n"
      .. "return function() for i = 1, 100000 do local s = ('y'):rep(1000) .. i end end" }, "forksafe.time_limit = 20s\n", { "--event", "postfork" })
    assert.same({ "postfork=ok" }, outcomes(result), result.stderr)
    passes("local keep = {}\nfor i = 1, 10000 do keep[i] = ('x'):rep(1000) .. i end\nfor i = 1, 100000 do local s = ('y'):rep(1000) .. i end",
      "forksafe.time_limit = 20s\n")
  end)

  -- What nothing refers to is there until it is collected: the second subscriber looks whether that happened after the first.
  local function is_collected_after(kept, body)
    local result = test({ ["full.lua"] = "local keep, weak = {}, setmetatable({}, { __mode = 'v' })\n"
      .. "for i = 1, " .. kept .. " do keep[i] = ('x'):rep(1000) .. i end\n"
      .. "forksafe.subscribe('ApplicationPostFork', function() weak[1] = {} " .. body .. " end)\n"
      .. "forksafe.subscribe('ApplicationPostFork', function() assert(keep[1]) print(weak[1] and 'kept' or 'collected') end)\n" },
      "forksafe.memory_limit = 16M\nforksafe.time_limit = 20s\n", { "--event", "postfork" })
    assert.equal(0, result.code, result.stderr)
    return result.stderr:find("collected", 1, true) ~= nil
  end

  it("full of what is needed makes no run collect, which would copy all of that in every child", function()
    assert.is_false(is_collected_after(13000, ""))
  end)

  it("that a run has nearly filled leaves room for the next", function()
    assert.is_true(is_collected_after(8000, "local large = ('y'):rep(3e6)"))
  end)

  it("that the settings do not fit into is told with what to do", function()
    local result = test({ ["postfork.lua"] = "return function() end" }, "forksafe.memory_limit = 1M\nbig = " .. ("x"):rep(3e6) .. "\n")
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("the settings do not fit into the Lua VM; raise forksafe.memory_limit", 1, true), result.stderr:sub(1, 2000))
  end)

  it("is not reached by garbage", function()
    passes("for i = 1, 200000 do local s = ('x'):rep(1000) .. i end", "forksafe.memory_limit = 4M\nforksafe.time_limit = 20s\n")
  end)
end)
