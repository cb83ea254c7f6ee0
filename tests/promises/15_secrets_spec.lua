-- SPDX-License-Identifier: MIT
--
-- Promise 15: no secret leaves, where something is wrong: an ini whose keys have the secret as their value, or which cannot be read, wrong
-- arguments, and a secret of the environment. containers_spec.lua searches all that prints of each container (canary.lua).
local canary = require "promises.canary"
local promises = require "support.promises"
local scripts = require "support.scripts"
local support = require "support"

local CANARY = "c4n4ry-7f3Ab9"

-- Runs every command that reads an ini, and returns all that they said.
local function say_all(ini, env)
  local texts = {}
  for _, argv in ipairs {
    { "test", ini }, { "test", "--debug", ini }, { "settings", ini }, { "settings", "--json", ini }, { "prefork", "--workers", "1", "--once", ini },
    { "debug", "--previous", ini }, { "ps", "--previous", ini }, { "log", "--previous", ini }, { "run", ini, "--", "/bin/true" },
    { "check", "--wait", "5", ini, "--", "/bin/true" }, { "repl", "--previous", "-e", "debug_state", ini },
  } do
    local result = support.run { support.paths.command, env = env, unpack(argv) }
    table.insert(texts, result.output)
  end
  for _, path in ipairs(support.all_files(support.runtime_dir())) do
    table.insert(texts, support.read(path))
  end
  return table.concat(texts, "\n")
end

-- `forksafe check` boots a server of its own, and shows what that says and what was found in it.
local function check(ini, ...)
  return support.run { support.paths.command, "check", "--wait", "10", ini, "--", support.paths.command, "prefork", "--workers", "1", ini, ..., timeout = 40 }
end

local function assert_clean(text, what)
  local at = text:find(CANARY, 1, true)
  assert.is_nil(at, what .. ": " .. text:sub(math.max(1, (at or 1) - 300), (at or 1) + 50))
end

describe("promise 15: the value of a setting is in no line", function()
  local keys = { "includes", "required", "max_workers", "records", "time_limit", "memory_limit", "lua_libs", "on_error", "audit", "log_level",
    "journal_keep", "journal_group", "enabled" }
  promises.it(15, "library", "about a key of forksafe's own that has a wrong value", function()
    for _, key in ipairs(keys) do
      local ini = scripts.application({ ["postfork.lua"] = "return function() end" }, "forksafe." .. key .. " = " .. CANARY .. "\n")
      local text = say_all(ini)
      assert_clean(text, key)
      assert.truthy(text:find(key, 1, true), key .. "\n" .. text)
    end
  end)

  promises.it(15, "library", "about an ini that cannot be read", function()
    for _, lines in ipairs {
      CANARY, CANARY .. "\n= x", "[" .. "app:main\npassword = " .. CANARY, "password = %(nothing)s " .. CANARY, "password = %" .. CANARY,
      "password = " .. CANARY .. "\npassword = " .. CANARY .. "\n  %(x", "set = " .. CANARY, "use = egg:" .. "shop\nuse = config:" .. "/nowhere\npassword = " .. CANARY,
      "get password = " .. CANARY, "set password = " .. CANARY, "password = " .. CANARY .. "\0x", "password = " .. ("x"):rep(300) .. CANARY,
    } do
      local ini = scripts.application({ ["postfork.lua"] = "return function() end" }, lines .. "\n")
      assert_clean(say_all(ini), lines)
    end
  end)

  promises.it(15, "library", "of `forksafe check`, which shows what the server writes", function()
    local ini = scripts.application(canary.hooks(), canary.keys())
    local result = check(ini)
    assert.matches("leak%-01%.postfork' failed[^\n]*<password>", result.output)
    assert_clean(result.output, "check")
    assert_clean(check(ini, "--", "/nowhere").output, "check of a server that cannot start")
  end)

  promises.it(15, "library", "after the end of the server: in the journals that are kept", function()
    local ini = scripts.application(canary.hooks(), canary.keys() .. "forksafe.journal_keep = 2\n")
    local result = support.run { support.paths.command, "prefork", "--workers", "1", "--once", ini }
    local text = say_all(ini)
    assert.matches("<password>", text)
    assert_clean(result.output .. text, "a kept journal")
  end)

  promises.it(15, "library", "where it came from the environment", function()
    local ini = scripts.application {
      ["1.postfork.lua"] = "local token = forksafe.env 'SHOP_TOKEN' return function() error('no ' .. token) end",
      ["2.postfork.lua"] = "local token = forksafe.env 'SHOP_TOKEN' error(token)",
      ["3.postfork.lua"] = "local token = forksafe.env 'SHOP_TOKEN' return function() error({ token }) end",
    }
    local text = say_all(ini, { SHOP_TOKEN = CANARY })
    assert_clean(text, "the environment")
    assert.truthy(text:find("no <SHOP_TOKEN>", 1, true), text)
  end)
end)
