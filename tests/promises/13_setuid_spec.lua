-- SPDX-License-Identifier: MIT
--
-- Promise 13: inert in setuid hosts. Copies of hosts that belong to root and are setuid, started by another user: the library opens
-- nothing and reads no environment, and the server serves.
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local promises = require "support.promises"
local scripts = require "support.scripts"
local servers = require "promises.servers"
local said = require "support.server"
local support = require "support"

local NOBODY = 65534

-- A copy of a program of ours that runs with root's rights, whoever starts it.
local function setuid_copy(path)
  local copy = support.tmpdir() .. "/" .. path:match "[^/]+$"
  support.must_run { "cp", path, copy }
  stat.chmod(copy, tonumber("4755", 8))
  return copy
end

-- The calls of a traced setuid run by nobody, behind its first line of output.
local function trace(...)
  local path = support.tmpdir() .. "/trace"
  local result = support.run { "strace", "-f", "-u", "nobody", "-o", path, ..., env = { FORKSAFE_INI = "/nowhere/by-environment.ini" } }
  assert.equal(0, result.code, result.output)
  return support.read(path):match '"begin\\n".-\n(.*)$', result.stdout
end

describe("promise 13: a setuid host", function()
  local HOOK = { ["masterready.lua"] = "return function() forksafe.log.info('a hook ran') end" }

  promises.it(13, "library", "opens nothing, maps nothing, and gets EOFF or EUSAGE from every function", function()
    local copy = setuid_copy(support.paths.build .. "/tests/promises/inert_host")
    for _, ini in ipairs { (scripts.application(HOOK)), false } do
      local calls, told = trace(copy, ini or nil)
      assert.equal("begin\nprepare -1 check -1 open -7 emit 0 child 0 json 0 path 0 status -1 lines 0\n", told)
      for call in calls:gmatch "%d+ +([%w_]+)%(" do
        assert.is_nil(call:find "^open" or call:find "^stat" or call:find "^mmap" or call:find "^rt_sig" or call:find "link", call)
      end
    end
  end)

  promises.it(13, "library", "without the bit does all of it", function()
    local ini = scripts.application(HOOK)
    local result = support.run { support.paths.build .. "/tests/promises/inert_host", ini }
    assert.truthy(result.stdout:find("open 0 emit 0 child 0 json 1 path 1 status 0", 1, true), result.output)
    assert.truthy(result.stderr:find("a hook ran", 1, true))
  end)

  -- Server programs by container; a script is given to the copy of its interpreter.
  local programs = { prefork = support.paths.command, nginx = "/usr/sbin/nginx", uwsgi = "/usr/bin/uwsgi-core",
    gunicorn = stdlib.realpath(support.paths.interpreter) }
  for _, container in ipairs { "prefork", "nginx", "uwsgi", "gunicorn" } do
    promises.it(13, container, "that is " .. container .. " serves without hooks and makes no journal", function()
      local copy = setuid_copy(programs[container])
      local script = 'program=$1; shift; case $0 in *python*) exec "$0" "$program" "$@";; *) exec "$0" "$@";; esac'
      local server = servers.start(container, { hooks = HOOK, uid = NOBODY,
        wrap = { "/bin/sh", "-c", script, copy } })
      servers.assert_serves(server)
      assert.is_nil(said.log(server):find("forksafe[", 1, true), said.log(server))
      assert.same({}, support.all_files(support.runtime_dir()))
      server:stop()
    end)
  end
end)
