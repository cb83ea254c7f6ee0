-- SPDX-License-Identifier: MIT
--
-- `forksafe debug`: what it prints of a real server, and which journals a TARGET means.
local support = require "support"
local cjson = require "cjson"
local lfs = require "lfs"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"

local command = support.paths.command

-- An application with these hooks. Returns the ini's path and its directory.
local function application(keys, hooks)
  local directory = support.tmpdir()
  assert(lfs.mkdir(directory .. "/hooks"))
  for name, text in pairs(hooks or { ["postfork.lua"] = "return function() end" }) do
    support.write(directory .. "/hooks/" .. name, text)
  end
  return support.write(directory .. "/app.ini", "[forksafe]\nscripts = %(here)s/hooks\n" .. (keys or "") .. "\n[settings]\ndb.password = hunter2-canary\n"), directory
end

-- A server that runs: two workers that are ready.
local function start(ini, options)
  local argv = { command, "prefork", "--workers", "2", ini }
  for name, value in pairs(options or {}) do
    argv[name] = value
  end
  local server = support.spawn(argv)
  support.eventually("two workers that are ready", function()
    local result = support.run { command, "debug", tostring(server.pid), env = options and options.env }
    local ready = 0
    for _, process in ipairs(result.code == 0 and cjson.decode(result.stdout).processes or {}) do
      if process.master == server.pid and process.role == "worker" and process.state == "ready" then
        ready = ready + 1
      end
    end
    return ready == 2
  end)
  return server
end

local function instance_of(ini)
  return support.debug(ini).instance
end

-- forksafe debug in a machine that has no other server: what others have in /run and /dev/shm is covered.
local function alone(...)
  return { "unshare", "--mount", "sh", "-c", 'mount -t tmpfs x /run && mount -t tmpfs x /dev/shm && exec "$@"', "sh", command, "debug", ... }
end

-- forksafe debug with these arguments, which must fail with this code and one line that begins so.
local function refuses(code, text, argv)
  local result = support.run(argv.stranger and { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", command, "debug", unpack(argv) }
    or alone(unpack(argv)))
  assert.equal(code, result.code, result.stderr)
  assert.equal("", result.stdout)
  assert.equal("forksafe debug: " .. text, result.stderr:sub(1, 16 + #text))
  assert.truthy(result.stderr:match "^[^\n]+\n$", result.stderr)
end

describe("forksafe debug", function()
  it("prints one object, its members in their order, a line for each element", function()
    local server = start((application()))
    local text = support.must_run { command, "debug", tostring(server.pid) }
    local members = {}
    for member in text:gmatch '\n  "([^"]+)":' do
      table.insert(members, member)
    end
    assert.same({
      "schema", "generated_at", "instance", "status", "environment", "autoconfigure.log", "executed_hooks", "enabled", "masters",
      "processes", "hooks", "subscribers", "leaders", "records", "findings",
    }, members)
    assert.equal("{\n  \"schema\": \"forksafe.debug/1\",\n", text:sub(1, 34))
    assert.truthy(text:match '\n    {"at": "[^\n]+, "child": null}[,\n]')
    local compact = support.must_run { command, "debug", "--compact", tostring(server.pid) }
    assert.equal("\n", compact:match "\n.*$")
    local object, again = cjson.decode(text), cjson.decode(compact)
    object.generated_at, again.generated_at = nil, nil
    assert.same(object, again)
  end)

  it("tells of a running server what /proc tells of it", function()
    local server = start((application "max_workers = 16\n"))
    local object = support.debug(server.pid)
    local children = server:children()
    assert.same(children, support.pids_of(object, "ApplicationPostFork"))
    assert.same(children, support.pids_of(object, "ApplicationPostWorkerInit"))
    for _, process in ipairs(object.processes) do
      local is_master = process.pid == server.pid
      assert.same({ true, is_master and "master" or "worker", not is_master, "ready" }, { process.alive, process.role, process.forked, process.state })
      assert.equal(support.info(process.pid).ppid, process.ppid)
    end
    local master = object.masters[1]
    assert.same({ server.pid, true, 1, "prefork", "main", 2, 0 }, {
      master.pid, master.alive, master.generation, master.container, master.app, master.forks.worker, master.records_overwritten,
    })
    assert.same({ "postfork", "ApplicationPostFork", 2, 2, 0, false, true, "log" }, {
      object.subscribers[1].name, object.subscribers[1].event, object.subscribers[1].begun, object.subscribers[1].outcomes.ok,
      object.subscribers[1].unfinished, object.subscribers[1].stale, object.subscribers[1].active, object.subscribers[1].on_error,
    })
    assert.same({ { "containers.prefork.master_ready", "ApplicationMasterReady" }, { "containers.prefork.pre_fork", "ApplicationPreFork" } }, {
      object.executed_hooks[1], object.executed_hooks[2],
    })
  end)

  it("finds a server by ini, instance, journal, its pid and a worker's, and without a TARGET", function()
    local ini = application()
    local server = start(ini)
    local object = support.debug(ini)
    local targets = { ini .. "#main", object.instance, object.masters[1].journal, server.pid, server:children()[1], server:children()[2] }
    for _, target in ipairs(targets) do
      assert.equal(server.pid, support.debug(target).masters[1].pid, target)
    end
    assert.equal(server.pid, cjson.decode(support.must_run(alone())).masters[1].pid)
    assert.equal(object.instance, cjson.decode(support.must_run { command, "debug", "app.ini", cwd = ini:match "^(.*)/" }).instance)
  end)

  it("prints each of several instances on a line of its own", function()
    local one, other = application "instance = one\n", application "instance = other\n"
    local first, second = start(one), start(other)
    local lines = {}
    for line in support.must_run(alone()):gmatch "[^\n]+" do
      table.insert(lines, cjson.decode(line))
    end
    assert.same({ "one", first.pid, "other", second.pid }, { lines[1].instance, lines[1].masters[1].pid, lines[2].instance, lines[2].masters[1].pid })
    assert.equal(2, #lines)
  end)

  it("merges the masters of one ini, and keeps two inis of one name apart", function()
    local ini, namesake = application(), application()
    local first = start(ini)
    local second = start(ini)
    local other = start(namesake)
    local object = support.debug(ini)
    assert.same({ first.pid, second.pid }, { object.masters[1].pid, object.masters[2].pid })
    assert.equal(1, #object.subscribers)
    assert.same({ 4, 4 }, { object.subscribers[1].begun, object.subscribers[1].outcomes.ok })
    assert.equal(6, #object.processes)
    local seen = {}
    for _, pair in ipairs(object.executed_hooks) do
      local name = table.concat(pair, " ")
      assert.is_nil(seen[name], name)
      seen[name] = true
    end
    for i = 2, #object.records do
      assert.truthy(object.records[i - 1].at <= object.records[i].at)
    end
    assert.same(object.masters[2], support.debug(second:children()[1]).masters[2])
    assert.same({ other.pid, 2 }, { support.debug(namesake).masters[1].pid, support.debug(namesake).subscribers[1].begun })
    assert.not_equal(object.instance, support.debug(namesake).instance)
    second:stop()
    assert.equal(1, #support.debug(ini).masters)
  end)

  it("still tells the story after all of it was killed, with --previous", function()
    local ini = application(nil, { ["postworkerinit.lua"] = "return function(event) if event.worker == 2 then while true do end end end" })
    support.write(ini, (support.read(ini):gsub("%[settings%]", "time_limit = 60s\n[settings]")))
    local server = support.spawn { command, "prefork", "--workers", "2", ini }
    local function stuck()
      local result = support.run { command, "debug", tostring(server.pid) }
      for _, record in ipairs(result.code == 0 and cjson.decode(result.stdout).records or {}) do
        if record.worker == 2 and record.outcome == "running" then
          return record.pid
        end
      end
    end
    local pid = support.eventually("a worker in the middle of its hook", stuck)
    local instance = instance_of(ini)
    for _, process in ipairs(support.debug(ini).processes) do
      signal.kill(process.pid, signal.SIGKILL)
    end
    support.eventually("the end of all of them", function()
      return not support.alive(server.pid) and not support.alive(pid)
    end)
    server:wait()
    refuses(3, ini .. ": no master lives; add --previous", { ini })
    refuses(3, instance .. ": no master lives; add --previous", { instance })
    refuses(3, "process " .. pid .. ": no master lives; add --previous", { tostring(pid) })
    refuses(3, "no TARGET given: no master lives; add --previous", {})
    for _, target in ipairs { ini, instance, pid, false } do
      local object = cjson.decode(support.must_run(alone("--previous", target and tostring(target) or nil)))
      assert.is_false(object.masters[1].alive)
      local unfinished = {}
      for _, record in ipairs(object.records) do
        if record.outcome == "unfinished" then
          table.insert(unfinished, { record.pid, record.worker, record.event, record.subscriber })
        end
      end
      assert.same({ { pid, 2, "ApplicationPostWorkerInit", "postworkerinit" } }, unfinished)
      assert.equal(1, object.subscribers[1].unfinished)
      for _, process in ipairs(object.processes) do
        assert.same({ "dead", false }, { process.state, process.alive })
      end
    end
  end)

  it("prints the last dead master of several with --previous, and none where all live", function()
    local ini = application()
    local first = start(ini)
    refuses(3, ini .. ": no master has died yet", { "--previous", ini })
    first:stop()
    local second = start(ini)
    second:stop()
    local third = start(ini)
    assert.equal(second.pid, support.debug(ini, { previous = true }).masters[1].pid)
    assert.equal(third.pid, support.debug(ini).masters[1].pid)
    assert.equal(first.pid, support.debug(first.pid, { previous = true }).masters[1].pid)
  end)

  it("says of a script whether its file is what runs", function()
    local ini, directory = application(nil, {
      ["postfork.lua"] = "return function() end",
      ["postworkerinit.lua"] = "return function() end",
      ["prefork.lua"] = "return function() end",
    })
    local server = start(ini)
    support.write(directory .. "/hooks/postfork.lua", "return function() return 1 end")
    os.remove(directory .. "/hooks/prefork.lua")
    local stale = {}
    for _, subscriber in ipairs(support.debug(ini).subscribers) do
      stale[subscriber.name] = subscriber.stale
    end
    assert.same({ postfork = true, prefork = true, postworkerinit = false }, stale)
    server:signal "HUP"
    support.eventually("the new script", function()
      for _, subscriber in ipairs(support.debug(ini).subscribers) do
        if subscriber.name == "postfork" then
          return subscriber.generation == 2 and not subscriber.stale
        end
      end
    end)
    for _, process in ipairs(support.debug(ini).processes) do
      if process.pid == server.pid then
        assert.equal(2, process.generation)
      end
    end
    for _, subscriber in ipairs(support.debug(ini).subscribers) do
      assert.equal(subscriber.name ~= "prefork", subscriber.active)
    end
  end)

  it("has the error of a script with its traceback, and no value of a setting", function()
    local ini = application(nil, {
      ["postfork.lua"] = "return function(event)\n  error('cannot connect with ' .. event.registry.settings['db.password'])\nend",
    })
    local server = start(ini)
    local text = support.must_run { command, "debug", tostring(server.pid) }
    local object = cjson.decode(text)
    assert.is_nil(text:find("hunter2-canary", 1, true))
    for _, process in ipairs(object.processes) do
      if process.role == "worker" then
        assert.truthy(process.error:find("postfork.lua:2: cannot connect with", 1, true), process.error)
        assert.truthy(process.error:find("stack traceback", 1, true), process.error)
        assert.equal(1, process.failed)
      end
    end
    assert.same({ 2, 0 }, { object.subscribers[1].outcomes.error, object.subscribers[1].outcomes.ok })
  end)

  it("finds a journal at a fixed path by its ini, its path and in a runtime_dir of the ini's own", function()
    local path = support.tmpdir() .. "/fixed.journal"
    local ini = application("journal = " .. path .. "\n")
    local server = support.spawn { command, "prefork", "--workers", "1", ini }
    support.eventually("its journal", function()
      return lfs.attributes(path) and #support.debug(ini).executed_hooks > 3
    end)
    assert.equal(server.pid, support.debug(path).masters[1].pid)
    server:stop()
    refuses(3, ini .. ": no master lives; add --previous", { ini })
    assert.equal(server.pid, support.debug(path).masters[1].pid)
    local elsewhere = support.tmpdir()
    local other = application("runtime_dir = " .. elsewhere .. "\n")
    local second = support.spawn { command, "prefork", "--workers", "1", other }
    support.eventually("its journal", function()
      local result = support.run { command, "debug", other }
      return result.code == 0 and cjson.decode(result.stdout).masters[1].pid == second.pid
    end)
    refuses(3, "no journal knows process " .. second.pid .. "; it lives, but is no process of a server with forksafe; searched: ", { tostring(second.pid) })
  end)

  it("refuses what it cannot find with exit code 3 and a line that says where it looked", function()
    local run = support.runtime_dir()
    local ini = application()
    refuses(3, "no such instance: 'nobody'; searched: " .. run .. ", /run/forksafe, /dev/shm/forksafe-0", { "nobody" })
    refuses(3, "no server with forksafe was found; searched: " .. run, {})
    refuses(3, ini .. ": its instance 'app-", { ini })
    refuses(3, "no journal knows process 4000000; there is no such process; searched: " .. run, { "4000000" })
    refuses(1, run .. "/none.ini: there is no such file", { run .. "/none.ini" })
    refuses(3, ini .. ": its instance 'app-", { support.write(ini, "[forksafe]\nno_such_key = 1\n[settings]\n") })
    refuses(1, ini .. ":2: ", { support.write(ini, "[forksafe]\nno key and no value\n[settings]\n") })
  end)

  it("refuses with exit code 4 what only others may read, and with 5 what another version wrote", function()
    local ini, directory = application()
    local server = start(ini)
    local object = support.debug(ini)
    local path, instance = object.masters[1].journal, object.instance
    refuses(4, path:match "^(.*)/" .. ": permission denied; be the server's user", { instance, stranger = true }) -- behind a closed directory
    stat.chmod(support.runtime_dir():match "^(.*)/", 493)
    stat.chmod(directory, 493)
    for _, target in ipairs { instance, ini } do
      refuses(4, path:match "^(.*)/" .. ": permission denied; be the server's user", { target, stranger = true })
    end
    refuses(4, path .. ": permission denied; be the server's user", { path, stranger = true })
    server:stop()
    local text = support.read(path)
    support.write(path, text:sub(1, 16) .. "\9\0\0\0" .. text:sub(21))
    refuses(5, path .. ": is a journal of version 9", { path })
    refuses(5, path .. ": is a journal of version 9", { "--previous", path })
    refuses(5, path .. ": is a journal of version 9", { instance })
    -- One bad file never hides the others.
    local second = start(ini)
    local result = support.run { command, "debug", ini }
    assert.same({ 0, second.pid }, { result.code, cjson.decode(result.stdout).masters[1].pid })
    assert.equal(1, (result.stderr:find("forksafe debug: left out: " .. path .. ": is a journal of version 9", 1, true)))
    refuses(1, directory .. "/letter:1: ", { support.write(directory .. "/letter", "a letter") })
  end)

  it("shows a server to the members of journal_group", function()
    local ini, directory = application "journal_group = www-data\n"
    stat.chmod(support.runtime_dir():match "^(.*)/", 493)
    stat.chmod(directory, 493)
    local server = start(ini)
    local text = support.must_run { "setpriv", "--reuid=65534", "--regid=33", "--clear-groups", command, "debug", ini }
    assert.equal(server.pid, cjson.decode(text).masters[1].pid)
  end)

  it("explains itself, and refuses two targets with exit code 2", function()
    assert.truthy(support.must_run({ command, "debug", "--help" }):find("--previous", 1, true))
    assert.equal(2, support.run({ command, "debug", "a", "b" }).code)
    assert.equal(2, support.run({ command, "debug", "--no-such-option" }).code)
  end)

  it("fails where its output cannot be written", function()
    local ini = application()
    start(ini)
    local result = support.run { "sh", "-c", command .. " debug " .. ini .. " > /dev/full" }
    assert.equal(1, result.code)
    assert.equal("forksafe debug: standard output cannot be written to\n", result.stderr)
  end)
end)
