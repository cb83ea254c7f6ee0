-- SPDX-License-Identifier: MIT
--
-- forksafe.python in a Python program that knows nothing of forksafe (`forksafe run`): PostFork waits until Python has repaired itself in the
-- child, so that hooks may call into it.
local servers = require "support.server"
local support = require "support"

local HOOKS = {
  ["prefork.lua"] = [[return function() forksafe.log.info("prefork %s", forksafe.python.eval "1 + 1") end]],
  ["postfork.lua"] = [[
return function(event)
  forksafe.python.exec "import threading"
  forksafe.log.info("postfork in %d: %d threads, its pid is %d.", event.pid, forksafe.python.eval "threading.active_count()",
    forksafe.python.call("os:getpid"))
  forksafe.python.call("__main__:connect", "in " .. event.pid)
end]],
}

local PROGRAM = [[
import multiprocessing, os, random, subprocess, sys, threading, time

connected = "nowhere"

def connect(where):
    global connected
    connected = where

def work(_):
    time.sleep(0.05)
    return os.getpid(), connected

def turn():
    while True:
        sum(range(1000))

if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        threading.Thread(target=turn, daemon=True).start()
    subprocess.run(["true"], preexec_fn=None)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        subprocess.run(["true"], close_fds=False)
        for pid, where in sorted(set(pool.map(work, range(60), chunksize=1))):
            print("worker %d is connected %s." % (pid, where), flush=True)
        pool.close()
        pool.join()
]]

local function run(threads)
  local directory = servers.application(HOOKS)
  local ini = support.write(directory .. "/production.ini", "[app:main]\nuse = egg:shop\nforksafe.scripts = %(here)s/hooks\n")
  local result = support.run { support.paths.command, "run", ini, "--", "/usr/bin/python3", support.write(directory .. "/shop.py", PROGRAM),
    tostring(threads), timeout = 60 }
  assert.equal(0, result.code, result.output)
  return result
end

describe("forksafe.python in a program with multiprocessing", function()
  for _, threads in ipairs { 0, 3 } do
    it(("calls into every worker, where the master has %d threads"):format(threads), function()
      local result = run(threads)
      local workers = 0
      for pid, where in result.stdout:gmatch "worker (%d+) is connected in (%d+)%." do
        workers = workers + 1
        assert.equal(pid, where)
        assert.equal(1, servers.count(result.output, ("postfork in %s: 1 threads, its pid is %s%%."):format(pid, pid)), result.output)
      end
      assert.equal(3, workers, result.output)
      assert.equal(3, servers.count(result.output, "postfork in "), result.output)
      assert.equal(0, servers.count(result.output, "failed"), result.output)
    end)
  end
end)
