-- SPDX-License-Identifier: MIT
--
-- Promise 9: the host never gets SIGBUS. The journal is a map of a file: on a file system that is full before, or becomes full after it
-- was made, in real servers that fork and reload there; and a file that another cuts short is never read through a map.
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local journal = require "support.journal"
local promises = require "support.promises"
local servers = require "promises.servers"
local said = require "support.server"
local support = require "support"

local NOBODY = 65534

-- A small file system of its own.
local function small_place(size)
  local place = support.tmpdir()
  support.must_run { "mount", "-t", "tmpfs", "-o", "size=" .. size, "tmpfs", place }
  support.defer(function()
    support.must_run { "umount", "-l", place }
  end)
  return place
end

local function fill(place)
  local result = support.run { "/bin/sh", "-c", 'cat /dev/zero >"$1/filler"', "sh", place }
  assert.truthy(result.stderr:find("No space left", 1, true), result.stderr)
end

-- Kills a worker: the master forks another on the full file system, and all that serve are recorded.
local function assert_goes_on(server, place)
  local workers = servers.assert_serves(server)
  signal.kill(workers[2], signal.SIGKILL)
  said.wait_said(server, "PostFork", 4, 30)
  local recorded = support.pids_of(support.debug(server.ini, { env = { RUNTIME_DIRECTORY = place } }), "ApplicationPostFork")
  for _, pid in ipairs(servers.assert_serves(server)) do
    assert.is_true(said.has(recorded, pid), "no record of " .. pid)
  end
end

describe("promise 9: on a file system", function()
  for _, container in ipairs(promises.CONTAINERS) do
    promises.it(9, container, "that becomes full while it runs, " .. container .. " forks and records", function()
      local place = small_place "8m"
      local server = servers.start(container, { env = { RUNTIME_DIRECTORY = place }, keys = "forksafe.max_workers = 64\n" })
      servers.wait_started(server)
      fill(place)
      assert_goes_on(server, place)
    end)
  end
end)

describe("promise 9: a journal", function()
  promises.it(9, "library", "can be cut short by nobody but its owner: group and others cannot open it for writing", function()
    local server = servers.start("prefork", {})
    servers.wait_started(server)
    local path = support.debug(server.ini).masters[1].journal
    local owner = stat.stat(path)
    for _, group in ipairs { owner.st_gid, NOBODY } do
      for _, command in ipairs { ": >'%s'", ": >>'%s'", "truncate -s 0 '%s'", "rm -f '%s'", "mv '%s' '%s.away'" } do
        local result = support.run { "setpriv", "--reuid=" .. NOBODY, "--regid=" .. group, "--clear-groups", "/bin/sh", "-c",
          (command:gsub("%%s", path)) }
        assert.not_equal(0, result.code, command .. " as group " .. group)
      end
    end
    assert.equal(owner.st_size, stat.stat(path).st_size)
    servers.assert_serves(server)
  end)

  promises.it(9, "library", "that is cut short while it is read is a line or an object, never a signal", function()
    local server = servers.start("prefork", {})
    servers.wait_started(server)
    local text = support.read(support.debug(server.ini).masters[1].journal)
    local copy = support.write(support.tmpdir() .. "/copy.journal", text)
    local follower = support.spawn { support.paths.command, "log", "-f", copy }
    journal.child(function() -- cuts it, and puts it back a piece at a time, until it is killed
      while true do
        local file, length = io.open(copy, "wb"), math.random(0, #text)
        file:write(text:sub(1, length))
        file:flush()
        file:write(text:sub(length + 1))
        file:close()
      end
    end)
    for i = 1, promises.number(60, 2000) do
      local command = ({ "debug", "ps", "log" })[i % 3 + 1]
      local result = support.run { support.paths.command, command, copy }
      assert.is_nil(result.signal, command)
      assert.is_true(#result.output > 0, command)
    end
    follower:stop()
    assert.not_equal(7, follower.how == "killed" and follower.code or 0)
  end)
end)
