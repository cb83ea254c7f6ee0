-- SPDX-License-Identifier: MIT
--
-- The example that a newcomer runs first: what examples/quickstart.sh shows is what its README says.
local support = require "support"

local example = support.paths.root .. "/examples/quickstart"

-- A copy, so that what a previous run recorded in another runtime directory or for the same ini does not matter.
local function copy_example()
  local directory = support.tmpdir()
  support.must_run { "cp", "-r", example, directory }
  return directory .. "/quickstart/production.ini"
end

local function run_once(ini)
  local result = support.run { support.paths.command, "prefork", "--workers", "4", "--once", ini }
  assert.equal(0, result.code, result.output)
  return result.output
end

describe("the quickstart", function()
  it("logs the hook's line once in each of four workers", function()
    local output = run_once(copy_example())
    local pids, lines = {}, 0
    for worker, pid, host in output:gmatch "forksafe%[[%w-]+%]: worker (%d) up as process (%d+), database (%S+)" do
      assert.equal("10.0.0.5", host)
      assert.is_nil(pids[pid])
      pids[pid] = worker
      lines = lines + 1
    end
    assert.equal(4, lines, output)
    for worker = 1, 4 do
      assert.truthy(output:find("worker " .. worker .. " up", 1, true), output)
    end
  end)

  it("shows afterwards what ran in every worker", function()
    local ini = copy_example()
    local output = run_once(ini)
    local object = support.debug(ini, { previous = true })
    local hooks = support.executed_hooks(object)
    assert.is_true(hooks["containers.prefork.pre_fork ApplicationPreFork"])
    assert.is_true(hooks["containers.prefork.post_fork ApplicationPostFork"])
    local pids = support.pids_of(object, "ApplicationPostFork")
    assert.equal(4, #pids)
    for _, pid in ipairs(pids) do
      assert.truthy(output:find("process " .. pid .. ",", 1, true), output)
    end
  end)

  it("shows no value of a setting", function()
    local ini = copy_example()
    run_once(ini)
    local text = support.must_run { support.paths.command, "debug", "--previous", ini }
    assert.is_nil(text:find("10.0.0.5", 1, true))
  end)

  it("prints what its README says", function()
    local readme = support.read(example .. "/README.md")
    local shown = {}
    for line in readme:gmatch "\n    (forksafe%[[^\n]+)" do
      shown[line:gsub("%[.-%]", "[]"):gsub("process %d+", "process"):gsub("worker %d", "worker")] = true
    end
    local output = run_once(copy_example())
    local count = 0
    for line in output:gmatch "forksafe%[[^\n]+" do
      count = count + 1
      local plain = line:gsub("%[.-%]", "[]"):gsub("process %d+", "process"):gsub("worker %d", "worker")
      assert.truthy(shown[plain], "the README has no line such as: " .. line)
    end
    assert.is_true(count >= 4)
  end)
end)
