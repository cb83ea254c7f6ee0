-- SPDX-License-Identifier: MIT
--
-- enabled, FORKSAFE=off, required, includes, log_level, and what happens where there is no journal to be had: each with a real
-- `forksafe prefork`, which runs on (or does not start) and says why in one line.
local lfs = require "lfs"
local scripts = require "support.scripts"
local support = require "support"

local HOOK = { ["postfork.lua"] = "return function(event) forksafe.log.info('hook ran in %d', event.pid) end" }

-- One round of a real server with two workers. `options` are of support.run.
local function once(ini, options)
  local argv = { support.paths.command, "prefork", "--workers", "2", "--once", ini }
  for name, value in pairs(options or {}) do
    argv[name] = value
  end
  return support.run(argv)
end

local function lines_with(result, text)
  local count = 0
  for line in result.stderr:gmatch "[^\n]+" do
    if line:find(text, 1, true) then
      count = count + 1
    end
  end
  return count
end

local function debug_of(ini)
  return support.debug(ini, { previous = true })
end

describe("a server with forksafe switched off", function()
  local rows = {
    { "forksafe.enabled = false", "forksafe.enabled = false\n", nil, "switched off by forksafe.enabled = false" },
    { "FORKSAFE=off", "", { FORKSAFE = "off" }, "switched off by FORKSAFE=off in the environment" },
    { "other includes", "forksafe.includes = forksafe.containers.uwsgi\n", nil, "switched off: forksafe.includes does not name this container" },
  }
  for _, row in ipairs(rows) do
    it("(" .. row[1] .. ") serves without hooks, says so in a line and in the debug object", function()
      local ini = scripts.application(HOOK, row[2])
      local result = once(ini, { env = row[3] })
      assert.equal(0, result.code, result.stderr)
      assert.equal(0, lines_with(result, "hook ran"))
      assert.equal(1, lines_with(result, row[4]))
      local state = debug_of(ini)
      assert.equal(row[4], state.status)
      assert.is_false(state.enabled)
      assert.same({}, state.executed_hooks)
    end)
  end

  it("runs its hooks where includes names the container", function()
    local ini = scripts.application(HOOK, "forksafe.includes = forksafe.containers.uwsgi\n  forksafe.containers.prefork\n")
    assert.equal(2, lines_with(once(ini), "hook ran"))
  end)
end)

describe("what forksafe cannot do", function()
  local rows = {
    { "a missing script directory", function(ini, directory)
      support.remove(directory .. "/hooks")
      return ini
    end, "cannot read the script directory", 0, "hooks: cannot read the script directory", "hook configured" },
    { "a bad script", function(ini, directory)
      support.write(directory .. "/hooks/bad.postfork.lua", "return 1")
      return ini
    end, "bad.postfork.lua: the script must return a function(event), it returned a number", 2, "bad.postfork.lua", "hook configured" },
    { "an unknown key", function(ini)
      support.write(ini, support.read(ini) .. "forksafe.time_limits = 1s\n")
      return ini
    end, "production.ini:%d+: .*time_limits", 2, "time_limits", "hook configured" },
    { "a bad value", function(ini)
      support.write(ini, support.read(ini) .. "forksafe.time_limit = soon\n")
      return ini
    end, "production.ini:%d+: .*time_limit", 2, "time_limit", "hook configured" },
    { "an ini that is missing", function(ini)
      return ini .. ".gone"
    end, "production.ini.gone", 0 },
  }
  for _, row in ipairs(rows) do
    local what, spoil, message, hooks, told, status = unpack(row)
    it("(" .. what .. ") does not keep the server from starting", function()
      local ini = spoil(scripts.application(HOOK))
      local result = once(ini)
      assert.truthy(result.stderr:find(message) or result.stderr:find(message, 1, true), result.stderr)
      assert.equal(hooks, lines_with(result, "hook ran"), result.stderr)
      assert.equal(0, result.code, result.stderr)
      if what ~= "an ini that is missing" then
        local state = debug_of(ini)
        local log = table.concat(state["autoconfigure.log"], "\n")
        assert.truthy(log:find(told, 1, true), log)
        assert.equal("forksafe prefork " .. status, state.status)
      end
    end)
    if what ~= "an ini that is missing" then
      it("(" .. what .. ") does with required = true, before the first fork", function()
        local ini, directory = scripts.application(HOOK, "forksafe.required = true\n")
        local result = once(spoil(ini, directory))
        assert.equal(1, result.code, result.stderr)
        assert.truthy(result.stderr:find("the server must not start, since forksafe.required = true", 1, true), result.stderr)
        assert.equal(0, lines_with(result, "hook ran"))
      end)
    end
  end
end)

describe("a server without a place for its journal", function()
  it("runs its hooks all the same, and says so in a line", function()
    local file = support.write(support.tmpdir() .. "/file", "")
    local ini = scripts.application(HOOK, "forksafe.runtime_dir = " .. file .. "/x\n")
    local result = once(ini)
    assert.equal(0, result.code, result.stderr)
    assert.equal(2, lines_with(result, "hook ran"))
    assert.equal(1, lines_with(result, "no journal file"))
  end)

  it("still has the debug object in its hooks", function()
    local file = support.write(support.tmpdir() .. "/file", "")
    local ini = scripts.application({ ["postfork.lua"] = "return function(event) forksafe.log.info('status %s', event.registry.forksafe.status) end" },
      "forksafe.runtime_dir = " .. file .. "/x\n")
    assert.equal(2, lines_with(once(ini), "status forksafe prefork hook configured"))
  end)
end)

describe("log_level", function()
  it("keeps lower lines out of the log", function()
    local script = { ["postfork.lua"] = "return function() forksafe.log.debug('d-line') forksafe.log.info('i-line') forksafe.log.warning('w-line') forksafe.log.error('e-line') end" }
    local seen = {}
    for _, level in ipairs { "debug", "info", "warning", "error" } do
      local result = once((scripts.application(script, "forksafe.log_level = " .. level .. "\n")))
      seen[level] = lines_with(result, "-line")
    end
    assert.same({ debug = 8, info = 6, warning = 4, error = 2 }, seen)
  end)
end)

describe("the same error", function()
  it("stands whole in the log once a generation, and counted in every other worker", function()
    local ini = scripts.application { ["postfork.lua"] = "return function() error('same again') end" }
    local result = support.run { support.paths.command, "prefork", "--workers", "4", "--once", ini }
    assert.equal(1, lines_with(result, "same again"), result.stderr)
    assert.equal(3, lines_with(result, "failed again ("), result.stderr)
  end)
end)

describe("children", function()
  it("draw different random numbers, and keep a seed that the script sets", function()
    local ini = scripts.application {
      ["postfork.lua"] = "return function() forksafe.log.info('drew %.17g', math.random()) end",
      ["seeded.postfork.lua"] = "return function() math.randomseed(7) forksafe.log.info('seeded %.17g', math.random()) end",
    }
    local result = support.run { support.paths.command, "prefork", "--workers", "4", "--once", ini }
    local drawn, seeded = {}, {}
    for number in result.stderr:gmatch "drew (%S+)" do
      drawn[number] = true
    end
    for number in result.stderr:gmatch "seeded (%S+)" do
      seeded[number] = (seeded[number] or 0) + 1
    end
    local count = 0
    for _ in pairs(drawn) do
      count = count + 1
    end
    assert.equal(4, count)
    assert.equal(4, select(2, next(seeded)))
  end)

  it("open nothing: scripts are read once, in the master", function()
    local ini, directory = scripts.application {
      ["postfork.lua"] = "return function() require('late') end", ["late.lua"] = "forksafe.log.info('late loaded')",
      ["masterready.lua"] = "return function() forksafe.log.info('ready') end",
    }
    support.write(directory .. "/trace.sh", "")
    local trace = directory .. "/trace"
    local result = support.run { "strace", "-f", "-e", "trace=openat,open,fork,clone,clone3,vfork", "-o", trace,
      support.paths.command, "prefork", "--workers", "2", "--once", ini, timeout = 60 }
    assert.equal(0, result.code, result.stderr)
    local text = support.read(trace)
    local master = text:match "^(%d+)"
    assert.truthy(text:find("postfork.lua", 1, true))
    for pid, call in text:gmatch "(%d+) (open[^\n]*)" do
      assert.equal(master, pid, call)
    end
    assert.is_truthy(lfs.attributes(trace))
  end)
end)
