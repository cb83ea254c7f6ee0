-- SPDX-License-Identifier: MIT
--
-- Promise 7: a hostile ini is one clear error. Good inis made bad, one after the other in one process (ini_host.c); and each container with
-- inis that cannot be read. tests/fuzz has the same loader under sanitizers.
local promises = require "support.promises"
local servers = require "promises.servers"
local said = require "support.server"
local support = require "support"

local SEEDS = "tests/fuzz/seeds/ini"
local NO_HOOKS = "production%.ini:%d+: [^\n]*; the server runs without hooks"

describe("promise 7: an ini made of good ones", function()
  for _, seed in ipairs { 1, 2 } do
    promises.it(7, "library", "is read, or refused in a line with file and line, series " .. seed, function()
      local argv = { support.paths.build .. "/tests/promises/ini_host", tostring(promises.number(5000, 50000)), tostring(seed),
        support.tmpdir(), timeout = promises.number(60, 600) }
      for name in support.must_run({ "ls", SEEDS }):gmatch "%S+" do
        table.insert(argv, SEEDS .. "/" .. name)
      end
      local result = support.run(argv)
      assert.equal(0, result.code, result.output)
      local read, refused, keys = result.stdout:match "(%d+) read, (%d+) refused, (%d+) wrong keys\n$"
      if promises.LONG then
        print(result.stdout)
      end
      for _, number in ipairs { read, refused, keys } do
        assert.is_true(tonumber(number) > 20, result.stdout) -- each was tried
      end
    end)
  end
end)

describe("promise 7: with an ini", function()
  -- Lines of the application's section, and what is told.
  local HOSTILE = {
    { "[hostile\n", "production%.ini:3: is neither a" },
    { "a = 1\na = 2\n", "production%.ini:4: a is already set" },
    { "a = %(b)s\nb = %(a)s\n", "production%.ini:%d: " },
    { "a = \255\254\n", "production%.ini:3: is not UTF%-8" },
    { "a = \0\n", "production%.ini:3: has a NUL byte" },
    { "a = " .. ("x"):rep(100000) .. "%(\n", "production%.ini:3: " },
  }

  for i, container in ipairs(promises.CONTAINERS) do
    local row = HOSTILE[(i - 1) % #HOSTILE + 1]
    promises.it(7, container, ("that is hostile, %s serves without hooks, and one line says why"):format(container), function()
      local server = servers.start(container, { keys = row[1], plain = true, hooks = { ["postfork.lua"] = "error('loaded')" } })
      servers.assert_serves(server)
      local log = said.log(server)
      assert.equal(1, said.count(log, NO_HOOKS), log)
      assert.equal(1, said.count(log, row[2] .. "[^\n]*; the server runs without hooks"), log)
      assert.equal(0, said.count(log, "PostFork"), log)
    end)
  end
end)
