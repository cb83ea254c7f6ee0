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

  promises.it(3, "library", "of its own, a VM is a line that names memory_limit, and from some size on it runs", function()
    local ini, directory = scripts.application(HOOKS, "forksafe.memory_limit = 0K\n")
    local text, worked, failed = support.read(ini), 0, 0
    for kilobytes = 64, 1600, promises.number(32, 4) do
      support.write(ini, (text:gsub("0K", kilobytes .. "K")))
      local result = support.run { support.paths.command, "test", "--event", "postfork", ini }
      assert.equal(1, result.code, result.output)
      local ran = result.stdout:find("postfork +error") ~= nil
      worked, failed = worked + (ran and 1 or 0), failed + (ran and 0 or 1)
      assert.truthy(ran or result.stderr:find("memory_limit", 1, true) or result.stderr:find("not enough memory", 1, true),
        kilobytes .. "K: " .. result.output)
    end
    assert.is_true(worked > 3 and failed > 3, ("%d runs worked and %d failed in %s"):format(worked, failed, directory))
  end)
end)
