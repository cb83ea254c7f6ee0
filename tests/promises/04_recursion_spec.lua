-- SPDX-License-Identifier: MIT
--
-- Promise 4: recursion never crashes. What calls itself through C functions ends as an error, on stacks of any size: threads of a host
-- (recursion_host.c), servers whose stack is small, and every container.
local cjson = require "cjson"
local promises = require "support.promises"
local recursions = require "promises.recursions"
local servers = require "promises.servers"
local scripts = require "support.scripts"
local support = require "support"

local KEYS = "forksafe.time_limit = 5s\nforksafe.records = 128\n"

-- Asserts that each nest ended as an error or for want of memory, so often; the last one well.
local function assert_ended(object, times)
  local nests = 0
  for _, one in ipairs(object.subscribers) do
    local text = one.name .. " " .. cjson.encode(one.outcomes)
    if one.name:find "^t_" then
      nests = nests + 1
      assert.equal(times, one.outcomes.error + one.outcomes.memory, text)
    elseif one.name:find "^zz_last" then
      assert.equal(times, one.outcomes.ok, text)
    end
  end
  assert.equal(recursions.COUNT, nests)
end

describe("promise 4: in a thread", function()
  promises.it(4, "library", "with a stack of 128 KiB to 8 MiB, each of " .. recursions.COUNT .. " nests is an error", function()
    local ini = scripts.application(recursions.hooks "workerexit", KEYS)
    local argv = { support.paths.build .. "/tests/promises/recursion_host", ini, timeout = promises.number(60, 600) }
    local sizes = promises.LONG and {} or { 128, 192, 256, 512, 1024, 8192 }
    for kib = 128, promises.LONG and 8192 or 0, 96 do
      table.insert(sizes, kib)
    end
    for _, kib in ipairs(sizes) do
      table.insert(argv, tostring(kib))
    end
    local result = support.run(argv)
    assert.equal(0, result.code, ("signal %s after:\n%s\n%s"):format(tostring(result.signal), result.stdout:sub(1, 2000), result.stderr:sub(-3000)))
    assert_ended(cjson.decode(result.stdout:match "{.*$"), #sizes + 1)
    assert.truthy(result.stderr:find("stack overflow", 1, true), result.stderr:sub(1, 3000))
  end)
end)

for _, container in ipairs(promises.CONTAINERS) do
  describe("promise 4: in " .. container, function()
    local function assert_survives(wrap)
      local server = servers.start(container, { hooks = recursions.hooks "postfork", keys = KEYS, wrap = wrap })
      servers.wait_last(server)
      servers.assert_serves(server)
      assert_ended(support.debug(server.ini), 3)
    end

    promises.it(4, container, "each nest is an error, and the server answers", function()
      assert_survives()
    end)

    if container == "prefork" or container == "nginx" or container == "uwsgi" then
      promises.it(4, container, "each nest is an error where the stack is small, too", function()
        assert_survives { "prlimit", "--stack=524288" }
      end)
    end
  end)
end
