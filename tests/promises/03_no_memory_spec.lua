-- SPDX-License-Identifier: MIT
--
-- Promise 3: no memory anywhere is a clear error. A host in which the Nth allocation fails, once or from then on, N rising until a run is
-- clean; and the VM's own memory, in steps from far too little to enough.
local promises = require "support.promises"
local scripts = require "support.scripts"
local support = require "support"

local HERE = support.paths.build .. "/tests/promises"
local STEP = promises.number(7, 1) -- beyond the 200th allocation

local HOOKS = {
  ["masterready.lua"] = "local seen = {} return function(event) seen[#seen + 1] = event.registry.settings['db.url'] end",
  ["postfork.lua"] = "return function(event) forksafe.log.debug('%s', event.pid) error { event.name } end",
  ["lib/deep.lua"] = "return {}",
}

describe("promise 3: without memory", function()
  for _, mode in ipairs { "once", "for-good" } do
    promises.it(3, "library", ("at the Nth allocation (%s), a host runs on and a line says why"):format(mode), function()
      local ini = scripts.application(HOOKS, "db.url = postgresql://u:pass-word@h/d\nforksafe.time_limit = 5s\n")
      local result = support.run { HERE .. "/memory_host", mode, tostring(STEP), ini, timeout = promises.number(120, 900),
        env = { LD_PRELOAD = HERE .. "/failing_memory.so" } }
      local last, runs = result.stdout:match "clean at (%d+), (%d+) runs\n$"
      assert.equal(0, result.code, result.stdout)
      assert.is_true(tonumber(last) > 500 and tonumber(runs) > 200, result.stdout)
      assert.truthy(result.stderr:find("out of memory; the server runs without hooks", 1, true))
      assert.is_nil(result.stderr:find("pass-word", 1, true))
    end)
  end

  promises.it(3, "library", "of its own, the VM fails in the script that takes too much, in a line, and the others run", function()
    local ini, directory = scripts.application({ ["2.postfork.lua"] = "return function() end" }, "forksafe.memory_limit = 1M\n")
    local worked, failed = 0, 0
    local sizes = { 8000, 9000, 10000, 11000 } -- no slack of any kind is that large
    for kilobytes = 0, 1400, promises.number(50, 2) do
      table.insert(sizes, kilobytes)
    end
    for _, kilobytes in ipairs(sizes) do
      support.write(directory .. "/hooks/1.postfork.lua", ("local t = {} for i = 1, %d do t[i] = ('x'):rep(1000) .. i end\n"):format(kilobytes)
        .. "return function() return #t end")
      local result = support.run { support.paths.command, "test", "--event", "postfork", ini }
      local first, second = result.stdout:find "1.postfork +ok", result.stdout:find "2.postfork +ok"
      if result.code == 0 then
        worked = worked + 1
        assert.truthy(first and second, result.output)
      else -- at the very edge the script loads, and leaves too little for the next
        failed = failed + 1
        assert.truthy(result.stderr:find("not enough memory", 1, true), result.output)
        assert.truthy(first or second, result.output)
      end
    end
    assert.is_true(worked > 3 and failed > 3, ("%d worked, %d failed"):format(worked, failed))
  end)
end)
