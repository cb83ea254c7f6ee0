-- SPDX-License-Identifier: MIT
--
-- Promise 5: any thrown value is safe, wherever it is thrown: while a script loads, in a module, in a subscriber, in a message handler, in a
-- coroutine, in a metamethod, in a finalizer. lua_spec.lua has the texts of each; containers_spec.lua has them in every container.
local promises = require "support.promises"
local scripts = require "support.scripts"

-- Expressions of what may be thrown.
local VALUES = {
  "nil", "false", "true", "0/0", "-1", "''", "'text'", "('x'):rep(100000)", "'\\0\\255\\27[2J'", "{}", "function() end",
  "coroutine.create(print)", "setmetatable({}, { __tostring = function() return nil end })",
  "setmetatable({}, { __tostring = function() error(setmetatable({}, { __tostring = error })) end })",
  "setmetatable({}, { __tostring = function() while true do end end })", "setmetatable({}, { __index = error, __call = error, __metatable = {} })",
  "forksafe", "event", "event and event.registry.settings", "_G",
}

-- Statements that throw `v`.
local PLACES = {
  "error(v)", "error(v, 0)", "error(v, 99)", "error(v, -1)", "pcall(error, v) error(v)", "xpcall(error, function() error(v) end, v) error(v)",
  "coroutine.wrap(function() error(v) end)()", "local t = setmetatable({}, { __index = function() error(v) end }) local none = t.x",
  "table.sort({ 1, 2, 3 }, function() error(v) end)", "(('x'):gsub('x', function() error(v) end))",
  "local c = coroutine.create(function() coroutine.yield() error(v) end) coroutine.resume(c) assert(coroutine.resume(c))",
  "for _ in function() error(v) end do end", "assert(false, v)", "local t = setmetatable({}, { __gc = function() error(v) end }) t = nil error(v)",
}

local function place(i, v)
  local statement = PLACES[i]
  return ("local v = %s %s"):format(v, statement:find "^%(%(" and "local none = " .. statement or statement)
end

describe("promise 5: any value", function()
  promises.it(5, "library", ("(%d of them) may be thrown in %d places, and the next subscriber runs"):format(#VALUES, #PLACES), function()
    for number, value in ipairs(VALUES) do
      local texts = { ["z.postfork.lua"] = "return function() end" }
      for i = 1, #PLACES do
        texts[("a%02d.postfork.lua"):format(i)] = "return function(event) " .. place(i, value) .. " end"
      end
      local result = scripts.test(texts, "forksafe.time_limit = 50ms\n", { "--event", "postfork", timeout = 60 })
      local outcomes = scripts.outcomes(result)
      assert.is_nil(result.signal, value)
      assert.equal(#PLACES + 1, #outcomes, value .. "\n" .. result.stderr:sub(1, 2000))
      assert.equal("z.postfork=ok", outcomes[#outcomes], "value " .. number)
    end
  end)

  promises.it(5, "library", "may be thrown while scripts and modules load, and the next script runs", function()
    local texts = { ["z.postfork.lua"] = "return function() end" }
    for i, value in ipairs(VALUES) do
      texts[("a%02d.postfork.lua"):format(i)] = "local event " .. place(i % #PLACES + 1, value)
      texts[("b%02d.postfork.lua"):format(i)] = ("require 'lib.m%d'"):format(i)
      texts[("lib/m%d.lua"):format(i)] = "local event error(" .. value .. ")"
    end
    local result = scripts.test(texts, "forksafe.time_limit = 50ms\n", { "--event", "postfork", timeout = 60 })
    assert.equal(1, result.code, result.stderr:sub(1, 2000))
    assert.equal("z.postfork=ok", scripts.outcomes(result)[1])
    for i = 1, #VALUES do
      assert.is_nil(result.stdout:find(("ok +b%02d"):format(i)))
    end
  end)

  promises.it(5, "library", "may be thrown by a finalizer, with the full library set", function()
    local texts = { ["z.postfork.lua"] = "return function() collectgarbage() end" }
    for i, value in ipairs(VALUES) do
      texts[("a%02d.postfork.lua"):format(i)] = ("local ffi = require 'ffi' return function(event) for _ = 1, 20 do local p = newproxy(true) "
        .. "getmetatable(p).__gc = function() error(%s) end end collectgarbage() collectgarbage() end"):format(value)
    end
    local result = scripts.test(texts, "forksafe.time_limit = 50ms\nforksafe.lua_libs = full\n", { "--event", "postfork", timeout = 60 })
    local outcomes = scripts.outcomes(result)
    assert.is_nil(result.signal, result.stderr:sub(1, 2000))
    assert.equal(#VALUES + 1, #outcomes, result.stderr:sub(1, 2000))
  end)
end)
