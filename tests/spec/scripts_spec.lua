-- SPDX-License-Identifier: MIT
--
-- Which files of a script directory run, in which order, and what is said of those that cannot: through the real command.
local scripts = require "support.scripts"
local support = require "support"
local lfs = require "lfs"
local unistd = require "posix.unistd"

local test, outcomes = scripts.test, scripts.outcomes

local function only_postfork(files, settings)
  return test(files, settings, { "--event", "postfork" })
end

describe("a script directory", function()
  it("subscribes a script by its file's name, at every event", function()
    local files, expected = {}, {}
    local names = { "masterready", "prefork", "postfork", "postworkerinit", "workerexit", "childexit", "reload", "shutdown" }
    for _, name in ipairs(names) do
      files[name .. ".lua"] = "return function(event) forksafe.log.info('%s %s', event.name, event.hook) end"
      expected[#expected + 1] = name .. "=ok"
    end
    local result = test(files)
    assert.equal(0, result.code, result.stderr)
    assert.same(expected, outcomes(result))
    for _, event in ipairs { "MasterReady", "PreFork", "PostFork", "PostWorkerInit", "WorkerExit", "ChildExit", "Reload", "Shutdown" } do
      assert.truthy(result.stderr:find("Application" .. event .. " containers.test.", 1, true), event)
    end
  end)

  it("runs scripts in byte order of their names, subscribers by order and then by load order", function()
    local result = only_postfork {
      ["20-b.postfork.lua"] = "return function() end",
      ["10-a.postfork.lua"] = "return function() end",
      ["Z.postfork.lua"] = "return function() end",
      ["metrics.lua"] = "forksafe.subscribe('ApplicationPostFork', function() end, { order = 1, name = 'first' })\n"
        .. "forksafe.subscribe('ApplicationPostFork', function() end, { order = 99, name = 'last' })\n"
        .. "forksafe.subscribe('ApplicationPostFork', function() end)",
    }
    assert.equal(0, result.code, result.stderr)
    assert.same({ "first=ok", "10-a.postfork=ok", "20-b.postfork=ok", "Z.postfork=ok", "metrics:3=ok", "last=ok" }, outcomes(result))
  end)

  it("may be empty, and may be left out", function()
    assert.equal(0, test({}).code)
    local ini = support.write(support.tmpdir() .. "/p.ini", "[app:main]\nuse = egg:myapp\n")
    assert.equal(0, support.run({ support.paths.command, "test", ini }).code)
  end)

  it("that is missing is one line that says where to correct it, and the rest goes on", function()
    local ini, directory = scripts.application({}, "")
    support.remove(directory .. "/hooks")
    local result = support.run { support.paths.command, "test", ini }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find(directory .. "/hooks: cannot read the script directory: No such file or directory; make it, or correct forksafe.scripts", 1, true), result.stderr)
  end)

  it("gives modules to require: files below it, once, and no C modules", function()
    local result = only_postfork {
      ["postfork.lua"] = "local db = require 'lib.db'\nlocal again = require 'lib.db'\nlocal p = require 'pool'\n"
        .. "return function() assert(db == again and db.loads == 1 and p.x == 2 and require('pkg').name == 'pkg') end",
      ["lib/db.lua"] = "count = (count or 0) + 1\nreturn { loads = count }",
      ["pool.lua"] = "return { x = 2 }",
      ["pkg/init.lua"] = "return { name = ... }",
    }
    assert.equal(0, result.code, result.stderr)
    local missing = only_postfork { ["postfork.lua"] = "local x = require 'cjson'\nreturn function() end" }
    assert.equal(1, missing.code)
    assert.truthy(missing.stderr:find("postfork.lua:1: module 'cjson' not found", 1, true), missing.stderr)
    local loop = only_postfork { ["postfork.lua"] = "require 'a'\nreturn function() end", ["a.lua"] = "require 'b'", ["b.lua"] = "require 'a'" }
    assert.truthy(loop.stderr:find("requires itself", 1, true), loop.stderr)
  end)

  it("subscribes a script by its name also where another has required it", function()
    local result = only_postfork { ["a.lua"] = "require 'postfork'", ["postfork.lua"] = "return function() end" }
    assert.equal(0, result.code, result.stderr)
    assert.same({ "postfork=ok" }, outcomes(result))
  end)

  it("keeps the globals of a script to itself", function()
    local result = only_postfork {
      ["a.postfork.lua"] = "shared = 1\nreturn function() end",
      ["b.postfork.lua"] = "return function() assert(shared == nil) end",
    }
    assert.equal(0, result.code, result.stderr)
  end)
end)

-- Each row: a bad script beside a good one, and what must stand in the log.
local bad = {
  { "a syntax error", "postfork.lua", "return function(event\n  x = = 1\nend", "hooks/postfork.lua:2:" },
  { "an error while it runs", "postfork.lua", "local t = nil\nreturn t.x", "hooks/postfork.lua:2: attempt to index local 't'" },
  { "an unknown event", "m.lua", "\nforksafe.subscribe('ApplicationPostForks', print)", "hooks/m.lua:2: unknown event 'ApplicationPostForks'; the events are ApplicationMasterReady" },
  { "a script that returns nothing", "postfork.lua", "local x = 1", "hooks/postfork.lua: the script must return a function(event), it returned nothing" },
  { "a script that returns a table", "10-db.postfork.lua", "return {}", "10-db.postfork.lua: the script must return a function(event), it returned a table" },
  { "a function under a name that is no event", "post_fork.lua", "return function() end", "hooks/post_fork.lua: it returns a function, but its name subscribes to nothing" },
  { "a subscriber that is no function", "m.lua", "forksafe.subscribe('ApplicationPostFork', 1)", "hooks/m.lua:1: forksafe.subscribe: the subscriber of ApplicationPostFork is a function, not a number" },
  { "an unknown option", "m.lua", "forksafe.subscribe('ApplicationPostFork', print, { prio = 1 })", "hooks/m.lua:1: forksafe.subscribe knows no option 'prio'" },
  { "an option of another type", "m.lua", "forksafe.subscribe('ApplicationPostFork', print, { order = '1' })", "hooks/m.lua:1: forksafe.subscribe: option 'order' is a number, not a string" },
  { "an unknown policy", "m.lua", "forksafe.subscribe('ApplicationPostFork', print, { on_error = 'die' })", "hooks/m.lua:1: forksafe.subscribe: on_error is log, retire_worker or stop_server" },
  { "a name that is taken", "m.lua", "forksafe.subscribe('ApplicationPostFork', print, { name = 'a' })\nforksafe.subscribe('ApplicationPostFork', print, { name = 'a' })",
    "hooks/m.lua:2: forksafe.subscribe: there is already a subscriber 'a' for ApplicationPostFork" },
  { "bytecode", "postfork.lua", string.dump(function() end), "postfork.lua: this is bytecode; forksafe loads Lua sources only" },
  { "a script that never ends", "postfork.lua", "while true do end", "stopped: it ran longer than forksafe.time_limit allows" },
  { "a script that eats all memory", "postfork.lua", "local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end", "not enough memory" },
}

describe("a bad script", function()
  for _, row in ipairs(bad) do
    local what, name, text, message = unpack(row)
    it("(" .. what .. ") is told with its place, and the others run", function()
      local result = only_postfork({ [name] = text, ["zz-good.postfork.lua"] = "return function() end" }, "forksafe.time_limit = 100ms\nforksafe.memory_limit = 4M\n")
      assert.equal(1, result.code)
      assert.truthy(result.stderr:find(message, 1, true), result.stderr)
      assert.same({ "zz-good.postfork=ok" }, outcomes(result))
    end)
  end

  it("is told with a traceback, and in the autoconfigure log", function()
    local result = only_postfork { ["postfork.lua"] = "local function deep() error('boom') end\ndeep()" }
    assert.truthy(result.stderr:find("hooks/postfork.lua:1: boom", 1, true))
    assert.truthy(result.stderr:find("stack traceback:", 1, true))
    assert.truthy(result.stderr:find("in function 'deep'", 1, true), result.stderr)
    assert.truthy(table.concat(result.debug["autoconfigure.log"], "\n"):find("boom", 1, true))
  end)

  it("that others may write is not loaded", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
    support.run { "chmod", "o+w", directory .. "/hooks/postfork.lua" }
    local result = support.run { support.paths.command, "test", ini }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("hooks/postfork.lua: not loaded: everybody may write it; chmod o-w", 1, true), result.stderr)
  end)

  it("in a directory that others may write is not loaded", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
    support.run { "chmod", "o+w", directory .. "/hooks" }
    local result = support.run { support.paths.command, "test", ini }
    assert.truthy(result.stderr:find("hooks: scripts not loaded: everybody may write it", 1, true), result.stderr)
  end)

  it("leaves its names to those after it", function()
    local result = only_postfork {
      ["1.lua"] = "forksafe.subscribe('ApplicationPostFork', print, { name = 'x' })\nerror('boom')",
      ["2.lua"] = "forksafe.subscribe('ApplicationPostFork', function() end, { name = 'x' })",
    }
    assert.same({ "x=ok" }, outcomes(result))
  end)

  it("that others may replace is not loaded: the directory above, and where a symbolic link leads", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end", ["late.lua"] = "" }
    support.run { "chmod", "o+w", directory }
    local above = support.run { support.paths.command, "test", ini }
    assert.equal(1, above.code)
    assert.truthy(above.stderr:find("hooks: not loaded, because of " .. directory .. ": everybody may write it; chmod o-w", 1, true), above.stderr)
    support.run { "chmod", "o-w", directory }
    support.write(directory .. "/open/linked.lua", "error('must not run')")
    support.run { "ln", "-s", "../open/linked.lua", directory .. "/hooks/linked.lua" }
    assert.truthy(support.run({ support.paths.command, "test", ini }).stderr:find("must not run", 1, true))
    support.run { "chmod", "o+w", directory .. "/open" }
    local linked = support.run { support.paths.command, "test", ini }
    assert.falsy(linked.stderr:find("must not run", 1, true))
    assert.truthy(linked.stderr:find("hooks/linked.lua: not loaded, because of " .. directory .. "/open: everybody may write it", 1, true), linked.stderr)
    assert.truthy(linked.stdout:find("postfork +ok"), linked.stdout)
  end)

  it("may lie in a sticky directory of ours, not in one of another user", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
    support.run { "chmod", "1777", directory .. "/hooks" }
    assert.equal(0, support.run({ support.paths.command, "test", ini }).code)
    support.must_run { "chown", "daemon", directory .. "/hooks" }
    local result = support.run { support.paths.command, "test", ini }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("hooks: scripts not loaded: it belongs to another user; chown it", 1, true), result.stderr)
  end)

  it("of a group that may write it is not loaded as root, unless the group is root's", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
    support.run { "chmod", "g+w", directory .. "/hooks/postfork.lua" }
    assert.equal(0, support.run({ support.paths.command, "test", ini }).code)
    support.must_run { "chgrp", "daemon", directory .. "/hooks/postfork.lua" }
    local result = support.run { support.paths.command, "test", ini }
    assert.truthy(result.stderr:find("hooks/postfork.lua: not loaded: its group may write it, and the server is started as root; chmod g-w", 1, true), result.stderr)
  end)

  it("in a folder is told, and the others run", function()
    local files = { ["postfork.lua"] = "return function() end" }
    files[("deep/"):rep(9) .. "module.lua"] = ""
    local result = only_postfork(files)
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("deeper than 8 folders; not looked into", 1, true), result.stderr)
    assert.same({ "postfork=ok" }, outcomes(result))
  end)

  it("in a link to a folder that it lies in is found once", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return require('db.pool')", ["db/pool.lua"] = "return function() end" }
    for _, name in ipairs { "a", "b", "c", "db/d", "db/e" } do
      unistd.link(directory .. "/hooks", directory .. "/hooks/" .. name, true)
    end
    local result = support.run { support.paths.command, "test", ini }
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find "ApplicationPostFork%s+postfork%s+ok", result.output:sub(1, 2000))
    assert.equal(5, select(2, result.stderr:gsub("a link to a folder that it lies in; not looked into", "")), result.stderr)
  end)

  it("in folders that links make many of leaves the scripts of the directory, in one line", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
    local folders = support.tmpdir()
    for one = 1, 8 do
      support.write(("%s/%d/module.lua"):format(folders, one), "")
      for other = 1, 8 do
        unistd.link(("%s/%d"):format(folders, other), ("%s/%d/to%d"):format(folders, one, other), true)
      end
    end
    unistd.link(folders, directory .. "/hooks/modules", true)
    local result = support.run { support.paths.command, "test", ini }
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find "ApplicationPostFork%s+postfork%s+ok", result.output:sub(1, 2000))
    local _, told = result.stderr:gsub("more than 1024 folders; move what has no modules elsewhere", "")
    assert.equal(1, told, result.stderr:sub(1, 2000))
    local _, others = result.stderr:gsub("not looked into", "")
    assert.equal(16, others)
  end)

  it("that cannot be read, is a directory or a pipe is one line", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
    lfs.mkdir(directory .. "/hooks/dir.postfork.lua")
    support.run { "mkfifo", directory .. "/hooks/pipe.postfork.lua" }
    support.run { "ln", "-s", "/nowhere", directory .. "/hooks/gone.postfork.lua" }
    local result = support.run { support.paths.command, "test", ini }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("pipe.postfork.lua: not a regular file", 1, true), result.stderr)
    assert.truthy(result.stderr:find("gone.postfork.lua: cannot read the script: No such file or directory", 1, true), result.stderr)
    assert.truthy(result.stdout:find("postfork +ok"), result.stdout)
  end)
end)

describe("forksafe test", function()
  it("tells a run that ended well from an error that a script logs", function()
    local result = only_postfork { ["postfork.lua"] = "return function() forksafe.log.error('the database is away') end" }
    assert.equal(0, result.code, result.stderr)
  end)

  it("says how many rows it does not show, and counts a failure among them", function()
    local ini = scripts.application({
      ["1.postfork.lua"] = "return function() error('boom') end", ["2.postfork.lua"] = "return function() end", ["3.postfork.lua"] = "return function() end",
    }, "forksafe.records = 2\n")
    local result = support.run { support.paths.command, "test", "--event", "postfork", ini }
    assert.equal(1, result.code)
    assert.truthy(result.stdout:find("(the first 1 are not shown; raise forksafe.records)", 1, true), result.stdout)
  end)
end)
