-- SPDX-License-Identifier: MIT
--
-- The tests' own support library: a test that does not see a leak or a missing line would prove nothing.
local support = require "support"

-- Runs a spec of its own in a busted of its own.
local function busted_says(text, output, env)
  local path = support.write(support.tmpdir() .. "/inner_spec.lua", text)
  return support.run {
    "/usr/bin/luajit", "/usr/bin/busted", "--output=" .. (output or "TAP"), path,
    cwd = support.paths.root, timeout = 60, env = env,
  }
end

describe("a process of a test", function()
  it("runs to its end and tells how it ended", function()
    local result = support.run { "sh", "-c", "echo out; echo err >&2; exit 3" }
    assert.same({ code = 3, stdout = "out\n", stderr = "err\n", output = "out\nerr\n" }, result)
    assert.equal(15, support.run({ "sh", "-c", "kill -TERM $$" }).signal)
  end)

  it("has the environment, directory and input it was given", function()
    local directory = support.tmpdir()
    local result = support.run {
      "sh", "-c", "cat; pwd; echo $GIVEN; echo ${HOME-no home}; echo $RUNTIME_DIRECTORY",
      env = { GIVEN = "a value", HOME = false }, cwd = directory, stdin = "typed\n",
    }
    assert.equal("typed\n" .. directory .. "\na value\nno home\n" .. support.runtime_dir() .. "\n", result.stdout)
  end)

  it("fails with its output when it takes too long, and is ended", function()
    local pid
    local message = support.fails(function()
      support.run { "sh", "-c", "echo $$; exec sleep 60", timeout = 0.3 }
    end)
    pid = tonumber(message:match "\n(%d+)\n")
    assert.is_false(support.alive(pid))
  end)

  it("ends in an orderly way, or is killed with its whole group", function()
    local polite = support.spawn { "sleep", "60" }
    assert.is_true(polite:stop())
    assert.same({ "killed", 15 }, { polite:wait(0) })

    local stubborn = support.spawn {
      "sh", "-c", "trap '' TERM; sleep 60 & echo $!; while :; do sleep 1; done", stop_seconds = 0.2,
    }
    local background = tonumber(stubborn:wait_for "%d+")
    assert.is_false(stubborn:stop())
    assert.is_false(support.alive(stubborn.pid))
    support.eventually("its group is gone", function()
      return not support.alive(background)
    end)
  end)

  it("shows its children and descriptors", function()
    local process = support.spawn { "sh", "-c", "exec 7</dev/zero; sleep 60 & echo $!; wait" }
    local child = tonumber(process:wait_for "%d+")
    support.eventually("it sleeps", function()
      return support.command_line(child) == "sleep 60"
    end)
    assert.same({ child }, process:children())
    assert.same({ child }, support.descendants(process.pid))
    assert.equal("/dev/zero", support.fds(process.pid)[7])
    assert.is_true(support.start_time(child) >= support.start_time(process.pid))
  end)

  it("can have a terminal of its own", function()
    local process = support.spawn { "sh", "-c", "test -t 0 && read line && echo \"got $line\"", pty = true }
    process:send "something\n"
    process:wait_for "got something"
    assert.same({ "exited", 0 }, { process:wait(5) })
  end)

  it("runs as another user, who can use the runtime directory", function()
    local result = support.run { "sh", "-c", "id -u; touch $RUNTIME_DIRECTORY/file && echo fine", uid = 65534 }
    assert.equal("65534\nfine\n", result.stdout)
  end)
end)

describe("what a test leaves behind", function()
  it("is found, ended, and fails the test", function()
    local result = busted_says [[
      local support = require "support"
      it("leaves a daemon", function()
        local pid = support.must_run { "sh", "-c", "setsid sleep 67 </dev/null >/dev/null 2>&1 & sleep 0.3; echo $!" }
        io.stderr:write("pid ", pid)
      end)
      it("leaves nothing", function() end)
    ]]
    assert.equal(1, result.code)
    assert.matches("the test left processes running:\n# %d+ sleep 67", result.stdout)
    assert.matches("ok %d %- leaves nothing", result.stdout)
    assert.is_false(support.alive(tonumber(result.stderr:match "pid (%d+)")))
  end)

  it("made outside a test lives until the file ends", function()
    local result = busted_says [[
      local support = require "support"
      local server
      setup(function() server = support.spawn { "sleep", "60" } end)
      it("has it", function() io.stderr:write("pid ", server.pid, " ") assert(server:alive()) end)
      it("still has it", function() assert(server:alive()) end)
    ]]
    assert.equal(0, result.code, result.output)
    assert.is_false(support.alive(tonumber(result.stderr:match "pid (%d+)")))
  end)

  it("is found when a whole file left it", function()
    local result = busted_says [[
      local support = require "support"
      setup(function()
        support.must_run { "sh", "-c", "setsid sleep 68 </dev/null >/dev/null 2>&1 & sleep 0.3" }
      end)
      it("knows nothing of it", function() end)
    ]]
    assert.equal(1, result.code)
    assert.matches("left processes running:\n# %d+ sleep 68", result.stdout)
  end)

  it("has its directories removed", function()
    local result = busted_says [[
      local support = require "support"
      it("makes some", function()
        io.stderr:write(support.write(support.tmpdir() .. "/a/b", "text"))
      end)
    ]]
    assert.equal(0, result.code, result.output)
    assert.matches("/a/b$", result.stderr)
    assert.is_nil(support.read(result.stderr))
  end)
end)

describe("waiting and failing", function()
  it("returns what the check returned once it is true", function()
    local count = 0
    assert.equal(3, support.eventually("three", function()
      count = count + 1
      return count >= 3 and count
    end))
  end)

  it("fails with what was waited for and what was seen last", function()
    local message = support.fails(function()
      support.eventually("the sun rises", function()
        return nil, "it is dark"
      end, 0.05)
    end)
    assert.matches("not within 0.05 s: the sun rises; last: it is dark", message)
  end)

  it("does not take an error for a failed assertion, nor a success", function()
    local ok, message = pcall(support.fails, function()
      return nil .. "x"
    end)
    assert.is_false(ok)
    assert.matches("not a failed assertion", tostring(message))
    assert.matches("these assertions hold", support.fails(function()
      support.fails(function() end)
    end))
  end)
end)

describe("without_line", function()
  local source

  before_each(function()
    source = support.tmpdir() .. "/tree"
    support.write(source .. "/a.c", "one\ntwo\nthree\n")
    support.write(source .. "/below/b.py", "four\ntwo and more")
  end)

  it("copies a tree with the one matching line taken out", function()
    local copy, line = support.without_line(source, "^three")
    assert.equal("three\n", line)
    assert.equal("one\ntwo\n", support.read(copy .. "/a.c"))
    assert.equal("four\ntwo and more", support.read(copy .. "/below/b.py"))
    assert.equal("one\ntwo\nthree\n", support.read(source .. "/a.c"))
  end)

  it("copies a single file likewise", function()
    local copy = support.without_line(source .. "/below/b.py", "more")
    assert.matches("/b%.py$", copy)
    assert.equal("four\n", support.read(copy))
  end)

  it("refuses when no line or several match", function()
    assert.error_matches(function()
      support.without_line(source, "two")
    end, "2 lines of .* match 'two', not one")
    assert.error_matches(function()
      support.without_line(source, "absent")
    end, "0 lines of")
  end)
end)

describe("http", function()
  it("answers, or says that nobody does", function()
    local port = support.free_port()
    assert.is_nil((support.http_get(port)))
    local directory = support.tmpdir()
    support.write(directory .. "/hello", "hello there")
    support.spawn {
      "/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", tostring(port), cwd = directory,
    }
    assert.equal("hello there", support.http_wait(port, "/hello"))
    assert.equal(404, (support.http_get(port, "/absent")))
  end)
end)

describe("the report", function()
  local function report(text)
    local path = support.tmpdir() .. "/result"
    local result = busted_says(text, "support.report", { FORKSAFE_TEST_RESULT = path })
    return support.read(path), result.stdout
  end

  it("counts what passed", function()
    local counts, text = report [[ it("is", function() end) it("too", function() end) ]]
    assert.equal("2 0\n", counts)
    assert.equal("ok      is\nok      too\n", text)
  end)

  it("counts a failed, broken, pending or empty test as failed", function()
    local counts, text = report [[
      it("fails", function() assert.equal(1, 2) end)
      it("breaks", function() error "thrown" end)
      it("waits", function() pending "for what is not there" end)
      pending("is not written")
      it("works", function() end)
    ]]
    assert.equal("1 4\n", counts)
    assert.matches("FAILED  fails\n        at .-inner_spec.lua:1", text)
    assert.matches("FAILED  breaks\n", text)
    assert.matches("PENDING  waits\n.-for what is not there", text)
    assert.matches("PENDING  is not written", text)
  end)

  it("counts what breaks outside of a test as failed", function()
    assert.equal("0 1\n", (report [[ describe("a", function() error "thrown" end) ]]))
    assert.equal("0 1\n", (report [[ setup(function() error "thrown" end) it("is not run", function() end) ]]))
    assert.equal("0 1\n", (report [[ before_each(function() error "x" end) it("is not run", function() end) ]]))
    assert.equal("1 1\n", (report [[ after_each(function() error "thrown" end) it("is run", function() end) ]]))
    assert.equal("0 1\n", (report [[ this is not Lua ]]))
  end)
end)
