-- SPDX-License-Identifier: MIT
--
-- Promise 14: state files are safe. Real servers where something else has the journal's name, under hostile umasks, and where nothing can
-- be written at all: the hooks run, nobody's file is touched. journal_spec.lua has the library's side of each.
local lfs = require "lfs"
local pwd = require "posix.pwd"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"
local promises = require "support.promises"
local servers = require "promises.servers"
local said = require "support.server"
local support = require "support"

local NOBODY = 65534
local WRAPPED = { "prefork", "uwsgi", "gunicorn", "nginx", "preload" } -- a command in front of them is their own process

-- A server in a mount namespace in which these commands have run; its application's directory stays writable.
local function start_in_namespace(container, commands, env)
  local script = 'mount --bind "$PWD" "$PWD"; cd "$PWD"\n' .. commands .. '\nexec "$@"'
  return servers.start(container, { env = env, wrap = { "/usr/bin/unshare", "-m", "/bin/sh", "-ec", script, "sh" } })
end

-- Everything that is or was mounted for us.
local NOTHING_WRITABLE = [[
mount -t tmpfs -o size=64k tmpfs /dev/shm; head -c 64k /dev/zero >/dev/shm/full
mount -t tmpfs -o ro tmpfs /run
mount -o remount,bind,ro /]]

describe("promise 14: the hooks run", function()
  for _, container in ipairs(WRAPPED) do
    promises.it(14, container, ("in %s with a read-only root, no /run and a full /dev/shm"):format(container), function()
      local server = start_in_namespace(container, NOTHING_WRITABLE, { RUNTIME_DIRECTORY = false })
      servers.wait_started(server)
      servers.assert_serves(server)
      local log = said.log(server)
      assert.equal(1, said.count(log, "no journal file, `forksafe debug` will not find this server: "), log)
      assert.truthy(log:find("No space left on device; make room for it there", 1, true), log)
      assert.truthy(log:find("forksafe.runtime_dir", 1, true), log)
    end)
  end

  promises.it(14, "library", "with no default in /tmp: nothing is made there", function()
    local server = start_in_namespace("prefork", NOTHING_WRITABLE .. "\nmkdir \"$PWD/tmp\"; export TMPDIR=\"$PWD/tmp\"",
      { RUNTIME_DIRECTORY = false })
    servers.wait_started(server)
    for name in lfs.dir(server.directory .. "/tmp") do
      assert.truthy(name:find "^%.%.?$", name)
    end
    for _, path in ipairs(support.all_files(server.directory)) do
      assert.is_nil(path:find("journal", 1, true), path)
    end
  end)
end)

describe("promise 14: the journal", function()
  for _, umask in ipairs { "0", "077" } do
    promises.it(14, { "prefork", "gunicorn", "nginx" }, "has mode 0640, and its directory 0750, under umask " .. umask, function()
      for _, container in ipairs { "prefork", "gunicorn", "nginx" } do
        local server = servers.start(container, { wrap = { "/bin/sh", "-c", "umask " .. umask .. '; exec "$@"', "sh" } })
        servers.wait_started(server)
        local path = support.debug(server.ini).masters[1].journal
        assert.equal(tonumber("640", 8), stat.stat(path).st_mode % 4096, container)
        assert.equal(tonumber("750", 8), stat.stat(path:match "^(.*)/").st_mode % 4096, container)
      end
    end)
  end

  -- How each server is told to let its workers run as somebody else; and to start anew: uWSGI executes itself, gunicorn a second master.
  local USER = "www-data"
  local changing = {
    uwsgi = { env = { UWSGI_UID = USER, UWSGI_GID = USER }, signal = "HUP" },
    gunicorn = { env = { GUNICORN_CMD_ARGS = "--user " .. USER .. " --group " .. USER }, signal = "USR2" },
    nginx = { commands = "sed -i 's/user root/user " .. USER .. "/' nginx.conf", signal = "HUP" },
    preload = { env = { GUNICORN_CMD_ARGS = "--user " .. USER .. " --group " .. USER }, signal = "HUP", owner = "root" },
  }
  for container, how in pairs(changing) do
    promises.it(14, container, ("of %s is %s, mode 0640, and stays so after %s"):format(container,
      how.owner and "its own user's" or "its workers' user's", how.signal), function()
      local server = servers.start(container, { env = how.env, wrap = how.commands and { "/bin/sh", "-ec", how.commands .. '; exec "$@"', "sh" } })
      servers.wait_started(server)
      local owner = pwd.getpwnam(how.owner or USER).pw_uid
      local function assert_journals()
        local count = 0
        for _, path in ipairs(support.all_files(support.runtime_dir())) do
          local file = stat.stat(path)
          assert.same({ tonumber("640", 8), owner }, { file.st_mode % 4096, file.st_uid }, path)
          assert.equal(tonumber("750", 8), stat.stat(path:match "^(.*)/").st_mode % 4096, path)
          count = count + 1
        end
        return count
      end
      assert.equal(1, assert_journals())
      server:signal(how.signal)
      said.wait_said(server, "PostFork", 6, 30)
      assert.is_true(assert_journals() >= 1)
      servers.assert_serves(server)
    end)
  end

  local planted = {
    ["a hard link to a file of root's"] = { "has more than one name", function(path, precious)
      unistd.link(precious, path)
    end },
    ["a FIFO"] = { "is not a plain file", function(path)
      stat.mkfifo(path)
    end },
    ["another user's file"] = { "belongs to another user", function(path)
      support.write(path, "theirs")
      unistd.chown(path, NOBODY, NOBODY)
    end },
    ["a file of the user's"] = { "is no journal", function(path)
      support.write(path, "a letter")
    end },
    ["a directory"] = { "is not a plain file", function(path)
      lfs.mkdir(path)
    end },
  }
  for what, case in pairs(planted) do
    promises.it(14, "gunicorn", "is not made in a gunicorn where " .. what .. " has its name, which is left as it was", function()
      local place = support.tmpdir()
      local path, precious = place .. "/journal", support.write(place .. "/precious", "of the user")
      case[2](path, precious)
      local before, text = stat.lstat(path), stat.S_ISREG(stat.lstat(path).st_mode) ~= 0 and support.read(path)
      local server = servers.start("gunicorn", { keys = "forksafe.journal = " .. path .. "\n" })
      servers.wait_started(server)
      servers.assert_serves(server)
      local after, log = stat.lstat(path), said.log(server)
      assert.equal(1, said.count(log, "no journal file, [^\n]*/journal: " .. case[1] .. "; it is left alone"), log)
      assert.same({ before.st_ino, before.st_size, before.st_mode, before.st_uid }, { after.st_ino, after.st_size, after.st_mode, after.st_uid })
      assert.equal(text, text and support.read(path))
      assert.equal("of the user", support.read(precious))
    end)
  end
end)
