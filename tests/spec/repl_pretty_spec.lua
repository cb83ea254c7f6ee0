-- SPDX-License-Identifier: MIT
--
-- What `forksafe repl` prints and what TAB adds: its Lua files by themselves. repl_spec.lua has the command.
local support = require "support"

package.path = support.paths.root .. "/lua/?.lua;" .. package.path
local complete = require "repl.complete"
local pretty = require "repl.pretty"
local records = require "repl.records"
local text = require "repl.text"

describe("a value on the terminal", function()
  it("is Lua that gives the same string again, with nothing that moves a cursor", function()
    local nasty = '\27[31m"red"\\\n\r\t\0 \127 \155 \194\155 é € 😀 \226\128\174 \237\160\128 \192\175 \255'
    local shown = pretty.format(nasty)
    assert.equal(nasty, assert(loadstring("return " .. shown))())
    assert.is_nil(shown:find "[%c\127]")
    assert.truthy(shown:find("é € 😀", 1, true))
    assert.equal([["\x1b[31m\u{9b}\u{202e}\xff"]], pretty.format "\27[31m\194\155\226\128\174\255")
  end)

  it("has its keys sorted, names first, and a list before them", function()
    local value = { "a", "b", beta = 1, alpha = 2, ["and"] = 3, ["a b"] = 4, [10] = 5, [true] = 6, [0.5] = 7 }
    assert.equal(
      '{ "a", "b", alpha = 2, beta = 1, ["a b"] = 4, ["and"] = 3, [0.5] = 7, [10] = 5, [true] = 6 }',
      pretty.format(value, { width = 120 })
    )
    assert.equal("{ false, { false }, {} }", pretty.format { false, { false }, {} })
  end)

  it("stands on one line where that is wide enough, else on several", function()
    local value = { name = "x", list = { 1, 2, 3 } }
    assert.equal('{ list = { 1, 2, 3 }, name = "x" }', pretty.format(value, { width = 40 }))
    assert.equal('{\n  list = { 1, 2, 3 },\n  name = "x",\n}', pretty.format(value, { width = 30 }))
    for line in pretty.format({ value, value, { value } }, { width = 30 }):gmatch "[^\n]+" do
      assert.is_true(#line <= 30, line)
    end
  end)

  it("is bounded in depth, entries, text and all together, and says so", function()
    assert.equal("{ { {...} } }", pretty.format({ { { 1 } } }, { depth = 1 }))
    local list = {}
    for i = 1, 300 do
      list[i] = i
    end
    assert.truthy(pretty.format(list, { items = 5 }):find("{ 1, 2, 3, 4, 5, ... }", 1, true))
    assert.truthy(pretty.format(list, { items = 50 }):find "\n  50,\n  %.%.%. 250 more\n}$")
    assert.equal('{ "xxxxx"... }', pretty.format({ ("x"):rep(100) }, { text = 5 }))
    assert.equal('{ "é"... }', pretty.format({ "éé" }, { text = 3 }))
    assert.equal('"' .. ("x"):rep(1000) .. '"', pretty.format(("x"):rep(1000)))
    local wide = { list, list, list, list }
    local _, lines = pretty.format(wide, { total = 150 }):gsub("\n", "")
    assert.is_true(lines > 100 and lines < 165, lines .. " lines")
  end)

  it("may hold itself", function()
    local value = { inner = {} }
    value.inner.outer, value.me = value, value
    assert.equal("{ inner = { outer = <cycle> }, me = <cycle> }", pretty.format(value))
    local shared = { 1 }
    assert.equal("{ { 1 }, { 1 } }", pretty.format { shared, shared })
  end)

  it("is a number that reads back the same", function()
    for number, shown in pairs {
      [1] = "1", [-3] = "-3", [0.1] = "0.1", [1 / 3] = "0.3333333333333333", [2 ^ 52] = "4503599627370496",
      [1e300] = "1e+300", [math.huge] = "inf", [-math.huge] = "-inf", [1792345678.123456] = "1792345678.123456",
    } do
      assert.equal(shown, pretty.format(number))
    end
    assert.equal("nan", pretty.format(0 / 0))
    assert.equal("12LL", pretty.format(12LL))
  end)

  it("survives a __tostring that throws, and any other metamethod", function()
    local angry = { __index = error, __tostring = error, __len = error, __call = error }
    assert.truthy(pretty.format({ setmetatable({}, angry) }):find "<")
    local told = setmetatable({}, { __tostring = function() return "told \27" end })
    assert.equal("{ <told \\x1b> }", pretty.format { told })
    assert.equal("{ a = 1 }", pretty.format(setmetatable({ a = 1 }, { __index = error, __metatable = "locked" })))
  end)
end)

describe("a list of records", function()
  local list = { { pid = 1, name = "é", up = true }, { pid = 1000, name = "b\27" }, { pid = 2, child = { pid = 3 } } }

  it("is a table with aligned columns: numbers to the right, absent fields empty", function()
    assert.equal(
      "child        name    pid  up\n" ..
      "             é         1  true\n" ..
      "             b\\x1b  1000\n" ..
      "{ pid = 3 }            2",
      records.format(list, { width = 40 })
    )
  end)

  it("keeps the order of columns that it came with", function()
    local ordered = setmetatable({ unpack(list) }, { __columns = { "up", "pid" } })
    assert.same({ "up", "pid", "child", "name" }, records.columns(ordered))
  end)

  it("is cut with a line that says so, and leaves out what does not fit: first what is always the same", function()
    assert.truthy(records.format(list, { items = 2 }):find "\n%.%.%. 1 more$")
    local rows = {
      { always = "the same", a = 1, b = 1, c = 1, long = ("x"):rep(100) },
      { always = "the same", a = 2, b = 2, c = 2, long = ("x"):rep(100) .. "y", many = { list, list } },
    }
    setmetatable(rows, { __columns = { "always", "c", "b", "a" } })
    assert.equal("c  b  a\n1  1  1\n2  2  2\n... not shown:\n    always,\n    long,\n    many",
      records.format(rows, { width = 11 }))
    assert.is_nil(records.format(rows, { width = 4 }))
    assert.truthy(records.format(rows, { width = 200 }):find("  " .. ("x"):rep(60) .. "...\n", 1, true))
  end)

  it("is no table where it is something else", function()
    for _, other in ipairs { {}, { 1, 2 }, { { 1, 2 } }, { a = 1 }, { {}, {} }, { list[1], more = 1 } } do
      assert.is_nil(records.format(other))
    end
    assert.is_nil(records.format "text")
  end)

  it("counts wide and combining characters as the terminal does", function()
    assert.equal(6, text.width "漢字e\204\129b")
    assert.equal(1, text.width "é")
  end)
end)

describe("completion", function()
  local object = {
    processes = { { pid = 1, ppid = 2 } }, status = "x", odd = { ["\27x"] = 3 }, ["a.b"] = 1, ["a.c"] = 2,
  }
  local scope = {
    names = { "debug_state", "executed_hooks" },
    global = function(name)
      return name == "debug_state" and object or rawget(_G, name)
    end,
  }

  it("adds what is certain, and lists where there is more than one way on", function()
    for line, added in pairs {
      ["exec"] = "uted_hooks", ["x = debug_s"] = "tate", ["debug_state.st"] = "atus",
      ["print(debug_state.processes[1].pp"] = "id", ['debug_state["processes"][1].p'] = "",
      ['debug_state["a'] = ".", ['debug_state["a.b'] = '"]', ["debug_state['sta"] = "tus']",
      ["string.rep"] = "(", ["io.stdout:wri"] = "te(", ["retur"] = "n", ["nothing_like_it"] = "",
      ["debug_state.nothing."] = "", ["a .. deb"] = "ug", ["1.."] = "", ["   "] = "  ", ["debug_state.odd['"] = "",
    } do
      assert.equal(added, (complete.complete(line, scope, 80)), line)
    end
    local _, list = complete.complete("debug_state.processes[1].p", scope, 80)
    assert.equal("pid   ppid", list)
    _, list = complete.complete("debug_state.processes[1].p", scope, 5)
    assert.equal("pid\nppid", list)
  end)

  it("never calls what it looks at", function()
    local trap = setmetatable({}, { __index = error, __call = error })
    assert.equal("", (complete.complete("x.a.b.", { names = {}, global = function() return trap end }, 80)))
  end)
end)
