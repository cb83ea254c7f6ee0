-- SPDX-License-Identifier: MIT
--
-- What each container keeps of promises 5, 6, 12, 14, 15 and 19: one real server with hooks that throw anything, bytecode, files that
-- others may write and settings that must stay secret, one whose journal has something else in its place, and one switched off to
-- compare with. The other specs of this folder prove the same in depth, where a container makes no difference.
local canary = require "promises.canary"
local promises = require "support.promises"
local servers = require "promises.servers"
local state = require "promises.state"
local said = require "support.server"
local support = require "support"
local unistd = require "posix.unistd"

-- What is thrown by file name; false where the hook throws nothing.
local THROWN = {
  ["a nil"] = "error()",
  ["b table"] = "error({})",
  ["c false"] = "error(false)",
  ["d tostring that throws"] = "error(setmetatable({}, { __tostring = function() error({}) end }))",
  ["e thread"] = "error(coroutine.create(function() end))",
  ["f in a coroutine"] = "coroutine.wrap(function() error(setmetatable({}, {})) end)()",
  ["g in a handler"] = "xpcall(error, function() error({}) end) error()",
  ["h recursion"] = "local function f() return 1 + f() end f()",
  ["i megabyte"] = "error(('x'):rep(1048576))",
  ["j bytes"] = "error('\\0\\27[31m\\255\\226\\128\\174')",
}

local function hostile_hooks()
  local hooks = canary.hooks()
  for name, text in pairs(THROWN) do
    hooks[name .. ".postfork.lua"] = "return function() " .. text .. " end"
  end
  hooks["bytecode.postfork.lua"] = string.dump(loadstring "return function() forksafe.log.info('bytecode ran') end")
  hooks["open.postfork.lua"] = function(path)
    support.write(path, "return function() forksafe.log.info('untrusted ran') end", tonumber("666", 8))
  end
  hooks["z.postfork.lua"] = "return function() forksafe.log.info('the last ran') end"
  return hooks
end

-- Outcomes by subscriber and how many workers had them.
local function outcomes(object)
  local found = {}
  for _, one in ipairs(object.subscribers) do
    found[one.name] = one.outcomes
  end
  return found
end

for _, container in ipairs(promises.CONTAINERS) do
  describe("in " .. container, function()
    local server, object

    lazy_setup(function()
      server = servers.start(container, { hooks = hostile_hooks(), keys = canary.keys() })
      servers.wait_started(server)
      servers.assert_serves(server)
      object = support.debug(server.ini)
    end)

    promises.it(5, container, "promise 5: any thrown value is an error of that subscriber, and the others run", function()
      local found = outcomes(object)
      for name in pairs(THROWN) do
        assert.equal(3, found[name .. ".postfork"].error, name)
      end
      assert.equal(3, found["z.postfork"].ok)
    end)

    promises.it(6, container, "promise 6: a script of bytecode is refused, in a line", function()
      local log = said.log(server)
      assert.is_nil(log:find("bytecode ran", 1, true))
      assert.equal(1, said.count(log, "hooks/bytecode%.postfork%.lua: [^\n]*bytecode[^\n]*\n"), log)
    end)

    promises.it(12, container, "promise 12: a script that others may write is not loaded, in a line", function()
      local log = said.log(server)
      assert.is_nil(log:find("untrusted ran", 1, true))
      assert.equal(1, said.count(log, "hooks/open%.postfork%.lua: not loaded: everybody may write it"), log)
    end)

    promises.it(15, container, "promise 15: no value of a setting is in anything that prints", function()
      canary.assert_nowhere(server)
    end)

    promises.it(19, container, "promise 19: signals, masks and descriptors are as in a server with forksafe switched off", function()
      local quiet = servers.start(container, { env = { FORKSAFE = "off" } })
      local server_with = servers.start(container, { hooks = { ["postfork.lua"] = "return function() end" } })
      servers.wait_started(server_with)
      local quiet_workers, workers = servers.assert_serves(quiet), servers.assert_serves(server_with)
      support.eventually("all connections are closed, and nothing else differs", function()
        local without, with = state.of_all(quiet, quiet_workers), state.of_all(server_with, workers)
        return with == without, with .. "\nwithout it:\n" .. without
      end)
    end)

    promises.it(14, container, "promise 14: what has the journal's name is left alone, and the hooks run", function()
      local place = support.tmpdir()
      local precious = support.write(place .. "/precious", "of the user")
      unistd.link(precious, place .. "/journal", true)
      local planted = servers.start(container, { keys = "forksafe.journal = " .. place .. "/journal\n" })
      servers.wait_started(planted)
      servers.assert_serves(planted)
      assert.equal(1, said.count(said.log(planted), "no journal file, [^\n]*/journal: is a symbolic link; it is left alone"), said.log(planted))
      assert.equal("of the user", support.read(precious))
    end)
  end)
end
