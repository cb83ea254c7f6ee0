-- SPDX-License-Identifier: MIT
--
-- `forksafe repl` over journals that real servers wrote, from arguments, a pipe or a terminal. What it prints:
-- repl_pretty_spec.lua.
local cjson = require "cjson"
local stat = require "posix.sys.stat"
local support = require "support"

local command = support.paths.command

local HOOK = [[
return function(event)
  forksafe.log.info("worker %d is up", event.worker)
end
]]
local FAILING = 'return function() error("\\27[31mred") end\n'

-- An ini with a hook that works and one that fails with a terminal escape in its text.
local function application(name)
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/10-up.postfork.lua", HOOK)
  support.write(directory .. "/hooks/20-bad.postfork.lua", FAILING)
  return support.write(directory .. "/" .. name .. ".ini", "[forksafe]\nscripts = hooks\ninstance = " .. name .. "\n")
end

local function repl(...)
  return support.run { command, "repl", ... }
end

local function says(...)
  return support.must_run { command, "repl", ... }
end

-- A debug object as Lua has it: no nulls in objects. Two readings of the clocks give times that differ by a little.
local function without_nulls(value)
  if type(value) ~= "table" then
    return type(value) == "string" and value:find "^%d+%-%d+%-%d+T[%d:.]+Z$" and "a time" or value
  end
  local copy = {}
  for key, item in pairs(value) do
    if type(key) == "number" or item ~= cjson.null then
      copy[key] = without_nulls(item)
    end
  end
  return copy
end

describe("forksafe repl over the journal of a server that has ended", function()
  local ini, journal, object

  lazy_setup(function()
    ini = application "ended"
    support.must_run { command, "prefork", "--workers", "2", "--once", ini }
    for _, path in ipairs(support.all_files(support.runtime_dir())) do
      journal = path:match "%.journal$" and path or journal
    end
    object = support.debug(journal)
  end)

  it("evaluates -e in order, in one session", function()
    assert.equal("5\n", says("-e", "2 + 3", journal))
    assert.equal('6\n"x"\nnil\n7\n', says("-e", "a = 6", "-e", "a", "-e", "'x', nil, a + 1", journal))
    assert.equal("42\n43\n", says("-e", "= 42", "-e", "_ + 1", journal))
    assert.equal("one\ttwo\nraw \27[31m\n", says("-e", "print('one', 'two')", "-e", "print('raw \\27[31m')", journal))
  end)

  it("has the debug object that forksafe debug prints", function()
    local same = cjson.decode(says("--json", "-e", "debug_state", journal))
    assert.same(without_nulls(object), without_nulls(same))
    local find = "for _, h in ipairs(executed_hooks) do if h[2] == 'ApplicationPostFork' then print(h[1]) end end"
    assert.equal("containers.prefork.post_fork\n", says("-e", find, journal))
  end)

  it("has its lists by their short names", function()
    for _, name in ipairs { "executed_hooks", "processes", "records", "subscribers", "hooks", "masters", "findings" } do
      assert.equal("true\t" .. #object[name] .. "\n",
        says("-e", ("print(%s == debug_state.%s, #%s)"):format(name, name, name), journal))
    end
  end)

  it("is found by ini and by instance, where the masters of the past are asked for", function()
    for _, target in ipairs { ini, "ended" } do
      assert.equal(#object.records .. "\n", says("--previous", "-e", "#records", target), target)
      assert.equal(3, repl("-e", "#records", target).code)
    end
  end)

  it("shows lists of records as a table, with nothing that moves a cursor", function()
    local shown = says("-e", "pick(records, 'event', 'outcome', 'pid')", journal)
    assert.truthy(shown:find "^event +outcome +pid\n")
    assert.equal(#object.records + 1, select(2, shown:gsub("\n", "")))
    shown = says("-e", "debug_state", journal)
    assert.truthy(shown:find("\\x1b[31mred", 1, true))
    assert.is_nil(shown:find "\27")
  end)

  it("runs lines from a pipe, also those that take several", function()
    local result = support.run {
      command, "repl", journal,
      stdin = "x = 1\nfor i = 1, 2 do\n  print(x, i)\nend\n\n-- a comment\nx + 1\n[[a\nb]]\n2",
    }
    assert.equal('1\t1\n1\t2\n2\n"a\\nb"\n2\n', result.stdout)
    assert.same({ 0, "" }, { result.code, result.stderr })
  end)

  it("tells an error with its line, and goes on with the next", function()
    local result = support.run { command, "repl", journal, stdin = "1\n\nx.y = 1\n2\nif\nthen then\n3\nf(" }
    assert.equal("1\n2\n3\n", result.stdout)
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find "^forksafe repl: stdin:3: attempt to index global 'x'")
    assert.truthy(result.stderr:find "\nforksafe repl: stdin:6: ")
    assert.truthy(result.stderr:find "\nforksafe repl: stdin:8: .*: the input ends here\n$")
  end)

  it("ends at the first -e that fails, with 1 and one line", function()
    for expression, message in pairs {
      ["error('thrown')"] = "-e[1]:1: thrown",
      ["nosuch.field"] = "-e[1]:1: attempt to index global 'nosuch' (a nil value)",
      ["1 +"] = "-e[1]:1: unexpected symbol near '<eof>': the input ends here",
      ["error({ code = 1 })"] = "an error that is no text: { code = 1 }",
      ["error()"] = "an error that is no text: nil",
      ["error('a\\nb\\27')"] = "-e[1]:1: a b\\x1b",
      ["error(setmetatable({}, { __tostring = error }))"] = "an error whose __tostring fails",
    } do
      local result = repl("-e", expression, "-e", "print 'not reached'", journal)
      assert.same({ 1, "", "forksafe repl: " .. message .. "\n" }, { result.code, result.stdout, result.stderr })
    end
  end)

  it("leaves at quit and exit, whatever stands around them", function()
    for _, line in ipairs { "quit", "exit", "quit()", "pcall(exit)" } do
      local result = support.run { command, "repl", journal, stdin = line .. "\nprint 'not reached'\n" }
      assert.same({ 0, "", "" }, { result.code, result.stdout, result.stderr }, line)
    end
    assert.equal(7, repl("-e", "os.exit(7)", journal).code)
  end)

  it("keeps a person's own globals, and works on when they take names of Lua", function()
    local result = support.run { command, "repl", journal, stdin = [[
mine = { 1 }
records = "my own"
type, next, pairs, table, string, io, select, xpcall, tostring = 1, 2, 3, 4, 5, 6, 7, 8, 9
records, mine, processes[1].pid > 0
{ a = 1 }
nosuch.field
]] }
    assert.equal('"my own"\n{ 1 }\ntrue\n{ a = 1 }\n', result.stdout)
    assert.truthy(result.stderr:find "stdin:6: attempt to index global 'nosuch'")
  end)

  it("prints results as JSON", function()
    local values = "1, 'é', nil, true, { 1, 2 }, { b = { a = 0.5 } }, {}, findings, { null }"
    local shown = says("--json", "-e", values, journal)
    assert.equal('1\n"é"\nnull\ntrue\n[1, 2]\n{"b": {"a": 0.5}}\n[]\n[]\n[null]\n', shown)
    for expression, message in pairs {
      ["print"] = "functions", ["0/0"] = "nan", ["'\\255'"] = "UTF%-8", ["{ [{}] = 1 }"] = "keys",
      ["(function() local t = {}; t[1] = t; return t end)()"] = "deeper",
    } do
      local result = repl("--json", "-e", expression, journal)
      assert.same({ 1, "" }, { result.code, result.stdout })
      assert.truthy(result.stderr:find(message), result.stderr)
    end
  end)

  it("helps", function()
    local help = says("-e", "help", journal)
    assert.equal(help, says("-e", "help()", journal))
    for _, name in ipairs { "debug_state", "executed_hooks", "processes", "pick(", "quit" } do
      assert.truthy(help:find(name, 1, true), name)
    end
    assert.truthy(support.must_run({ command, "repl", "--help" }):find "TARGET")
  end)

  it("says with its exit code what is wrong with a target", function()
    local bytes = support.read(journal)
    local other = support.write(support.tmpdir() .. "/1-1.journal", bytes:sub(1, 16) .. "\99\0\0\0" .. bytes:sub(21))
    for target, code in pairs { ["no-such-instance"] = 3, ["1"] = 3, [other] = 5 } do
      local result = repl("-e", "1", target)
      assert.same({ code, "" }, { result.code, result.stdout }, target .. ": " .. result.stderr)
      assert.truthy(result.stderr:find "^forksafe repl: [^\n]+\n$", result.stderr)
    end
    assert.equal(2, repl("--nonsense").code)
    assert.equal(2, repl("-e", "1", "one", "two").code)
  end)

  it("says with 4 that it may not read a journal", function()
    local secret = support.tmpdir() .. "/2-2.journal"
    support.write(secret, support.read(journal), tonumber("600", 8))
    local result = support.run { command, "repl", "-e", "1", secret, uid = 65534 }
    assert.same({ 4, "" }, { result.code, result.stdout }, result.stderr)
  end)
end)

describe("forksafe repl over a running server", function()
  local server, ini

  before_each(function()
    ini = application "running"
    server = support.spawn { command, "prefork", "--workers", "1", ini }
    server:wait_for "worker 1 is up"
  end)

  local function kill_worker()
    local children = server:children()
    require("posix.signal").kill(children[1], 9)
    support.eventually("a new worker is up", function()
      return select(2, server:output():gsub("worker 1 is up", "")) >= 2
    end)
  end

  it("reads the journal anew at each line", function()
    local fifo = support.tmpdir() .. "/lines"
    assert(stat.mkfifo(fifo, tonumber("600", 8)))
    local session = support.spawn { "sh", "-c", 'exec "$0" repl running < "$1"', command, fifo }
    local lines = assert(io.open(fifo, "w"))
    lines:setvbuf "no"
    local count = "print('count ' .. #processes, processes == debug_state.processes)\n"
    lines:write(count)
    local before = tonumber(session:wait_for "count (%d+)\ttrue\n")
    kill_worker()
    lines:write(count)
    session:wait_for("count " .. before + 1 .. "\ttrue\n")
    lines:write "first = processes; same = first == processes; refresh(); print('anew', same, first ~= processes)\n"
    session:wait_for "anew\ttrue\ttrue\n"
    lines:close()
    assert.same({ "exited", 0 }, { session:wait() }, session:output())
  end)

  it("still reads the journal after its server has ended", function()
    local session = support.spawn { command, "repl", "running", pty = true, env = { TERM = "xterm" } }
    session:send "'alive', masters[1].alive, #masters\r"
    session:wait_for '"alive"\r\ntrue\r\n1\r\n'
    server:stop()
    session:send "'ended', masters[1].alive, #masters\r"
    session:wait_for '"ended"\r\nfalse\r\n1\r\n'
  end)

  it("is found by the pid of its master or of a worker", function()
    for _, pid in ipairs { server.pid, server:children()[1] } do
      assert.equal('"running"\n', says("-e", "debug_state.instance", tostring(pid)))
    end
  end)
end)

describe("forksafe repl at a terminal", function()
  local ini, state

  lazy_setup(function()
    ini = application "typed"
    support.must_run { command, "prefork", "--workers", "1", "--once", ini }
  end)

  before_each(function()
    state = support.tmpdir()
  end)

  -- A session, and a function that types text and waits until the terminal shows a match after it.
  local function start()
    local session = support.spawn {
      command, "repl", "--previous", ini, pty = true, env = { TERM = "xterm", XDG_STATE_HOME = state },
    }
    session:wait_for "forksafe%[typed%]> "
    local function type_and_see(typed, pattern)
      local seen = #session:output()
      session:send(typed)
      return support.eventually(pattern .. " after " .. typed, function()
        return session:output():sub(seen + 1):match(pattern), session:output():sub(seen + 1)
      end)
    end
    return session, type_and_see
  end

  it("greets, prompts, evaluates, and leaves at Ctrl-D", function()
    local session, see = start()
    assert.truthy(session:output():find "^forksafe [%d.]+, typed%.")
    see("6 * 7\r", "\n42\r\n.*forksafe%[typed%]> $")
    see("for i = 1, 2 do\r", "\n%.%.%.> $")
    see("print(i)\r", "%.%.%.> $")
    see("end\r", "\n1\r\n2\r\n.*forksafe%[typed%]> $")
    session:send "\4"
    assert.same({ "exited", 0 }, { session:wait() })
  end)

  it("completes at TAB", function()
    local _, see = start()
    see("executed_h\t", "ooks")
    see("\3", "%^C\r\n.*> $")
    see("processes[1].\t", "pid +.*\n.*forksafe%[typed%]> .*processes%[1%]%.")
    see("\3", "%^C\r\n.*> $")
    see("debug_state['auto\t[1]\r", '\n"[^\n]*"\r\n')
  end)

  it("shows no terminal escape of the journal, in results, in print, in errors", function()
    local session, see = start()
    see("for _, p in ipairs(processes) do bad = p.error or bad end\r", "> $")
    see("print(bad)\r", "\\x1b%[31mred")
    see("processes\r", "pid.*> $")
    see("{ bad }\r", "\\x1b%[31mred")
    see("error(bad)\r", "\\x1b%[31mred")
    assert.is_nil(session:output():find("\27[31m", 1, true))
  end)

  it("cancels a line at Ctrl-C, and an unfinished chunk", function()
    local _, see = start()
    see("nonsense((", "nonsense%(%($")
    see("\3", "%^C\r\n.*forksafe%[typed%]> $")
    see("x = [[\r", "%.%.%.> $")
    see("\3", "%^C\r\n.*forksafe%[typed%]> $")
    see("1 + 1\r", "\n2\r\n")
  end)

  it("interrupts a running line at Ctrl-C", function()
    local session, see = start()
    see("while true do end\r", "end\r\n$")
    support.sleep(0.2)
    see("\3", "interrupted\r\n.*> $")
    see("for i = 1, math.huge do local t = {} end\r", "end\r\n$")
    support.sleep(0.2)
    see("\3", "interrupted\r\n.*> $")
    see("'still here'\r", '\n"still here"')
    assert.is_true(session:alive())
  end)

  it("keeps the history for its owner alone, and for the next session", function()
    local path = support.write(state .. "/forksafe/repl_history", "'earlier'\n", tonumber("644", 8))
    local session, see = start()
    see("'remember me'\r", '\n"remember me"\r\n.*> $')
    session:send "\4"
    session:wait()
    assert.equal("'earlier'\n'remember me'\n", support.read(path))
    assert.equal(tonumber("600", 8), stat.stat(path).st_mode % 512)

    local _, see_again = start()
    see_again("\16", "'remember me'")
    see_again("\16", "earlier")
    see_again("\r", '\n"earlier"')
  end)

  it("makes its history where there is none, and follows no link to another file", function()
    local session, see = start()
    see("1\r", "\n1\r\n.*> $")
    session:send "\4"
    session:wait()
    local path = state .. "/forksafe/repl_history"
    assert.equal("1\n", support.read(path))
    assert.equal(tonumber("600", 8), stat.stat(path).st_mode % 512)
    assert.equal(tonumber("700", 8), stat.stat(state .. "/forksafe").st_mode % 512)

    os.remove(path)
    local other = support.write(state .. "/other", "")
    assert(require("posix.unistd").link(other, path, true))
    session, see = start()
    see("2\r", "\n2\r\n.*> $")
    assert.truthy(session:output():find "no history is kept: cannot use [^\n]+repl_history: ")
    assert.equal("", support.read(other))
  end)

  it("keeps no more than the last thousand lines", function()
    local lines = {}
    for i = 1, 2500 do
      lines[i] = "line_" .. i
    end
    local path = support.write(state .. "/forksafe/repl_history", table.concat(lines, "\n") .. "\n")
    local _, see = start()
    see("\16", "line_2500")
    local kept = support.read(path)
    assert.equal("line_1501\n", kept:match "^[^\n]*\n")
    assert.equal(1000, select(2, kept:gsub("\n", "")))
    assert.equal(tonumber("600", 8), stat.stat(path).st_mode % 512)
  end)

  it("says so and works on where no history can be kept", function()
    support.write(state .. "/forksafe", "a file in the way")
    local session, see = start()
    assert.truthy(session:output():find "repl: no history is kept: cannot use [^\n]+repl_history: Not a directory")
    see("1 + 1\r", "\n2\r\n")
  end)
end)

describe("the types for editors", function()
  it("are those of the functions that scripts have", function()
    local directory = support.tmpdir()
    support.write(directory .. "/hooks/names.lua", [[
for name, value in pairs(forksafe) do print("has", name) end
]])
    local ini = support.write(directory .. "/names.ini", "[forksafe]\nscripts = hooks\n")
    local declared, present = {}, {}
    local types = support.read(support.paths.root .. "/lua/library/forksafe.lua")
    for name in types:gmatch "\nfunction forksafe%.([%w_]+)" do
      declared[name] = true
    end
    for name in types:gmatch "\nforksafe%.([%w_]+) = " do
      declared[name] = true
    end
    declared.version = types:find "%-%-%-@class forksafe\n%-%-%-@field version string" and true or nil
    for name in support.run({ command, "test", ini }).output:gmatch "has%s+([%w_]+)" do
      present[name] = true
    end
    assert.same(present, declared)
  end)
end)
