-- SPDX-License-Identifier: MIT
--
-- forksafe.python in processes that have a Python (a small host, gunicorn, uWSGI), and in those that have none.
local bridge = require "support.bridge"
local signal = require "posix.signal"
local servers = require "support.server"
local support = require "support"

-- A PostFork hook that says `body`'s values with say(...).
local function hook(body)
  return { ["postfork.lua"] = "local python = forksafe.python\n"
    .. "local function say(...)\n  local t = { ... }\n  for i = 1, select('#', ...) do t[i] = tostring(t[i]) end\n"
    .. "  forksafe.log.info('%s', table.concat(t, ' '))\nend\nreturn function(event)\n" .. body .. "\nend" }
end

local function said(body, options)
  local result = bridge.in_python(hook(body), options)
  assert.equal(0, result.code, result.output)
  return result.said, result
end

describe("forksafe.python", function()
  it("hands strings, numbers, booleans, nil and flat tables over, and gets them back", function()
    local lines, result = said [[
      say(python.call("shop:told", 1, 1.5, "x\255", nil, true, { 1, 2 }, { a = 1 }, { k = "v" }))
      say(python.call("shop:told", "last", { a = 1 }, {}))
      say(python.call("shop:told", { "one" }))
      say(python.call("shop:told", event.registry.settings, {}))
      local kinds = python.call "shop:many_kinds"
      say(kinds[1], kinds[2], kinds[3], kinds[4], kinds[5] == "\255\0", kinds[6], kinds[7])
      local t = python.call "shop:mapping"
      say(t.a, t.b, t.c, t.d)
      say(python.call("shop:same", "x\255\0y") == "x\255\0y", python.call("shop:same", true), python.call("shop:same", nil))
      say(python.eval "0.1", python.eval "-0.5", python.eval "2**53" == 2 ^ 53, python.eval "float('inf')")
    ]]
    assert.same({
      [[((1, 1.5, 'x\udcff', None, True, [1, 2], {'a': 1}), {'k': 'v'})]],
      [[(('last', {'a': 1}), {})]],
      [[((['one'],), {})]],
      ([[(({'forksafe.scripts': '%s/hooks'},), {})]]):format(result.directory),
      "1 2.5 é true true {'a'} 1152921504606846976",
      "1 nil text [1, 2]",
      "true true nil",
      "0.1 -0.5 true inf",
    }, lines)
  end)

  it("refuses what cannot cross, before anything is called", function()
    local lines = said [[
      for _, value in ipairs { print, { { 1 } }, { 1, a = 2 }, { [3] = 1 }, { [true] = 1 }, { print } } do
        say(select(2, pcall(python.call, "shop:told", value)))
      end
      say(select(2, pcall(python.eval, "1", 2)))
      say(select(2, pcall(python.call)))
    ]]
    assert.same({
      "bad argument #2 to '?' (only strings, numbers, booleans, nil and tables of them can cross)",
      "bad argument #2 to '?' (a table in a table cannot cross; hand it over as text)",
      "bad argument #2 to '?' (a table that crosses is a list without holes, or has strings as keys, not both)",
      "bad argument #2 to '?' (a table that crosses is a list, or has strings as keys)",
      "bad argument #2 to '?' (a table that crosses is a list, or has strings as keys)",
      "bad argument #2 to '?' (only strings, numbers and booleans in a table can cross)",
      "bad argument #2 to '?' (there is one argument: the text)",
      "bad argument #1 to '?' (string expected, got no value)",
    }, lines)
  end)

  it("looks in what is imported, and imports where it is told to", function()
    assert.same({ "nil not loaded", "nil not loaded", "[1]" }, (said [[
      say(python.call("no.such.module:run", 1))
      say(python.call("colorsys:rgb_to_hls", 1, 1, 1))
      python.call("colorsys:rgb_to_hls", 1, 1, 1, { import = true })
      say(python.call("json:dumps", { 1 }, { import = true }))
    ]]))
  end)

  it("is there while scripts load, in the master", function()
    local result = bridge.in_python { ["load.lua"] = [[forksafe.log.info("loading: %s", forksafe.python.call("shop:same", "ready"))]] }
    assert.same({ "loading: ready" }, result.said)
  end)

  it("gives back what it was given, whatever it is", function()
    assert.same({ "500 alike" }, (said [[
      local function any(depth)
        local kind = math.random(depth == 0 and 5 or 4)
        if kind == 1 then return math.random() < 0.5 end
        if kind == 2 then return math.random(-2 ^ 40, 2 ^ 40) end
        if kind == 3 then return math.random() * 10 ^ math.random(-300, 300) end
        local bytes = {}
        for i = 1, math.random(0, 40) do bytes[i] = string.char(math.random(0, 255)) end
        if kind == 4 then return table.concat(bytes) end
        local t = {}
        for i = 1, math.random(20) do t[depth == 0 and #bytes > 20 and i or "key" .. i] = any(1) end
        return t
      end
      local function alike(a, b)
        if type(a) ~= "table" then return a == b end
        for k, v in pairs(a) do if b[k] ~= v then return false end end
        for k, v in pairs(b) do if a[k] ~= v then return false end end
        return true
      end
      local count = 0
      for _ = 1, 500 do
        local value = any(0)
        if alike(value, python.call("shop:same", value, {})) then count = count + 1 end
      end
      say(count, "alike")
    ]]))
  end)

  it("keeps names from one exec to the next eval", function()
    assert.same({ "42", "two" }, (said [[
      python.exec "import os\ndef twice(n):\n    return 2 * n\nname = 'two'"
      say(python.eval "twice(21)")
      say(python.eval " name ")
    ]]))
  end)

  it("makes exceptions Lua errors with Python's traceback", function()
    local _, result = said [[
      say(pcall(python.call, "shop:nothing"))
      say(pcall(python.call, "shop.fail"))
      say(pcall(python.eval, "1 +"))
      python.exec "def deeper():\n    return 1 / 0"
      say(select(2, pcall(python.exec, "\ndeeper()")))
      say(python.eval "'still here'")
      python.call "shop:fail"
    ]]
    local log = result.stdout
    for _, text in ipairs {
      "false [^\n]*postfork.lua:%d+: python: AttributeError: module 'shop' has no attribute 'nothing'\n",
      "python: ValueError: a target is 'package.module:name', this is 'shop.fail'\n",
      "python: SyntaxError: invalid syntax\n",
      'python: ZeroDivisionError: division by zero\n[^\n]*Traceback %(most recent call last%):\n[^\n]*File "<[^\n]*postfork.lua:%d+>", line 2, in <module>\n'
        .. '[^\n]*deeper%(%)\n[^\n]*File "<[^\n]*>", line 2, in deeper\n[^\n]*return 1 / 0\n',
      "still here\n",
      "subscriber 'postfork' failed: [^\n]*postfork.lua:14: python: ValueError: no such shop\n[^\n]*Traceback [^\n]*\n"
        .. '[^\n]*File "[^\n]*shop.py", line %d+, in fail\n',
    } do
      assert.truthy(log:find(text), text .. "\nis not in\n" .. log)
    end
  end)

  it("carries ten megabytes each way", function()
    assert.same({ "10000000 true" }, (said([[
      local text = ("0123456789"):rep(1000000)
      local back = python.call("shop:same", text)
      say(#back, back == text)
    ]], { keys = "forksafe.memory_limit = 64M\n" })))
  end)

  it("fails as Lua does where the answer is larger than the memory limit, and goes on", function()
    local lines = said([[
      say(pcall(python.eval, "'x' * 20000000"))
      say(python.eval "'next'")
    ]], { keys = "forksafe.memory_limit = 8M\n" })
    assert.same({ "false not enough memory", "next" }, lines)
  end)

  it("is not stopped by the time limit, which holds for the Lua around it", function()
    local lines, result = said([[
      for _ = 1, 200000 do end
      say(python.exec "import time\ntime.sleep(0.3)\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass")
      for _ = 1, 200000 do end
      say "and on"
      while true do end
    ]], { keys = "forksafe.time_limit = 100ms\n" })
    local took = lines[1]:match "postfork.lua:9: forksafe.python.exec took ([%d.]+) s, longer than forksafe.time_limit"
    assert.is_true(took and tonumber(took) >= 0.5, lines[1])
    assert.same({ "nil", "and on" }, { lines[2], lines[3] })
    assert.truthy(result.stdout:find("postfork.lua:12: stopped: it ran longer than forksafe.time_limit allows", 1, true))
  end)

  it("queues an event that a signal handler of the host emits during a call", function()
    local scripts = hook [[say(python.call "shop:signal_us")
      say "end of PostFork"]]
    scripts["childexit.lua"] = "return function(event) forksafe.log.info('child of worker %s', event.worker) end"
    local result = bridge.in_python(scripts)
    assert.same({ "after the handler", "end of PostFork", "child of worker 7", "child of worker 1" }, result.said)
  end)

  it("leaves the host what its signal handler raised during a call", function()
    local result = bridge.in_python(hook [[
      local _, why = pcall(python.call, "shop:end_us")
      say "this line may be lost: the host's log is Python"
      say(why)
      say "the hook ends first"
    ]])
    local last = #result.said
    assert.truthy(result.said[last - 1]:find("python: ended by what a signal handler raised", 1, true))
    assert.equal("the hook ends first", result.said[last])
    assert.falsy(result.stdout:find("verdict", 1, true))
    assert.equal(1, result.code) -- the host's, whose worker ended with 7
  end)

  it("may fork", function()
    assert.same({ "5", "2" }, (said [[
      say(python.call "shop:fork_once")
      say(python.eval "1 + 1")
    ]]))
  end)

  it("works beside threads of the application, with and without the lock", function()
    local lines = said [[
      python.call("shop:start_threads", 4)
      for i = 1, 200 do
        assert(python.call("shop:same", i) == i)
        assert(not pcall(python.call, "shop:fail"))
      end
      say(python.call "shop:without_lock")
    ]]
    assert.same({ "back" }, lines)
  end)

  it("works where the host calls in with the lock", function()
    assert.same({ "4" }, (said([[say(python.eval "2 + 2")]], { env = { KEEP_LOCK = "1" } })))
  end)

  describe("in a host whose forks the library sees by itself", function()
    local scripts = hook [[
      say(event.name, event.hook, event.forked, event.worker)
      say(pcall(python.eval, "threading.active_count() if 'threading' in globals() else 1"))
    ]]
    scripts["prefork.lua"] = "return function() forksafe.log.info('before %s', forksafe.python.eval '2') end"

    it("waits in the child until Python has repaired itself", function()
      local result = bridge.in_python(scripts, { env = { ATFORK = "1", SERVE_WORKERS = "2" } })
      assert.equal(0, result.code, result.output)
      local one = { "before 2", "ApplicationPostFork containers.host.post_fork true nil", "true 1" }
      assert.same({ one[1], one[2], one[3], one[1], one[2], one[3] }, result.said)
    end)

    it("is refused in the child, not in the parent, where C forks", function()
      local result = bridge.in_python(scripts, { env = { ATFORK = "1", RAW = "1" } })
      assert.equal(0, result.code, result.output)
      assert.equal("before 2", result.said[1])
      assert.truthy(result.said[3]:find("python: python is not in a sane state here, in the middle of a fork", 1, true), result.said[3])
    end)

    it("takes no fork of the application's workers for one", function()
      local result = bridge.in_python(scripts, { env = { ATFORK = "1" }, modules = { "shop", "forks_again" }, files = {
        ["forks_again.py"] = "import shop\ndef in_worker():\n    print('grandchild', shop.fork_once(), flush=True)\n" } })
      assert.equal(3, #result.said, result.output)
      assert.truthy(result.stdout:find("grandchild 5", 1, true))
    end)
  end)

  it("is refused where a thread holds the lock that did not come along through the fork", function()
    local result = bridge.in_raw_host(hook [[say(pcall(python.eval, "1"))]])
    assert.equal(0, result.code, result.output)
    local refused = servers.count(result.stderr, "python is not in a sane state here: its lock is held by a thread")
    assert.is_true(refused >= 1, result.output)
    assert.equal(3, refused + servers.count(result.stderr, ": true 1\n"))
  end)
end)

local HOOK = { ["postfork.lua"] = [[
return function(event)
  local value, why = forksafe.python.call("shop:store.connect", "db" .. event.worker, { retries = 3 })
  forksafe.log.info("connect: %s.", value == nil and why or "done")
end]], ["postworkerinit.lua"] = [[
return function() forksafe.log.info("later: %s.", forksafe.python.call("shop:same", "here") or "not there") end]],
  ["childexit.lua"] = [[
return function(event) forksafe.log.info("reaped %s: %s.", event.child.pid, forksafe.python.eval "1 + 1" or "not there") end]] }

-- A directory with these hooks and an ini, and the port the server is to have.
local function application()
  local directory = servers.application(HOOK)
  support.write(directory .. "/production.ini", "[app:main]\nuse = egg:shop\nforksafe.scripts = %(here)s/hooks\n")
  return directory, support.free_port()
end

local function spawn(argv, directory, port)
  argv.cwd = directory
  argv.env = { PYTHONPATH = bridge.data .. ":" .. support.paths.python, FORKSAFE_INI = directory .. "/production.ini" }
  local server = support.spawn(argv)
  server.port = port
  return server
end

-- What each of two workers answers, by pid.
local function answers(server)
  local found, pids = {}, 0
  support.eventually("two workers answer", function()
    local _, body = support.http_get(server.port, "/")
    local pid, text = body:match "^(%d+) (.*)$"
    if pid and not found[pid] then
      found[pid], pids = text, pids + 1
    end
    return pids == 2, server:output()
  end, 20)
  return found
end

local function assert_connected(server)
  local one
  for pid, text in pairs(answers(server)) do
    assert.truthy(text:find("^db[12] in " .. pid .. ", 3 retries$"), text)
    one = pid
  end
  assert.equal(2, servers.count(server:output(), "later: here%."))
  signal.kill(tonumber(one), signal.SIGKILL)
  server:wait_for("reaped " .. one .. ": 2%.")
  answers(server) -- its replacement is up
end

describe("forksafe.python under gunicorn", function()
  local function start(...)
    local directory, port = application()
    support.write(directory .. "/config.py", "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init, child_exit\n")
    return spawn({ "/usr/bin/gunicorn", "--config", "config.py", "--workers", "2", "--bind", "127.0.0.1:" .. port, "shop:application", ... },
      directory, port)
  end

  it("with --preload calls into the application in every worker, at PostFork", function()
    assert_connected(start "--preload")
  end)

  it("with --preload and threads does too", function()
    assert_connected(start("--preload", "--threads", "3"))
  end)

  it("without it finds the application at PostWorkerInit only", function()
    local server = start()
    for _, text in pairs(answers(server)) do
      assert.equal("inherited", text)
    end
    assert.equal(2, servers.count(server:output(), "connect: not loaded%."))
    assert.equal(2, servers.count(server:output(), "later: here%."))
  end)
end)

describe("forksafe.python under uWSGI", function()
  local function start(plugins, ...)
    local directory, port = application()
    return spawn({ "uwsgi", "--plugins-dir", support.paths.uwsgi_plugin:match "^(.*)/", "--plugin", plugins[1], "--plugin", plugins[2],
      "--http-socket", "127.0.0.1:" .. port, "--processes", "2", "--master", "--die-on-term", "--pythonpath", bridge.data, "--module", "shop",
      "--forksafe", directory .. "/production.ini", ... }, directory, port)
  end
  for _, row in ipairs {
    { name = "as it comes", {} },
    { name = "with the plugin before python's", {}, plugins = { "forksafe", "python3" } },
    { name = "with --enable-threads", { "--enable-threads" } },
    { name = "with --threads 3", { "--threads", "3" } },
    { name = "with python's own fork hooks", { "--enable-threads", "--py-call-uwsgi-fork-hooks" } },
  } do
    it(row.name .. " calls into the application in every worker", function()
      local server = start(row.plugins or { "python3", "forksafe" }, unpack(row[1]))
      assert_connected(server)
      assert.equal(0, servers.finish(server, "INT"))
    end)
  end
end)

describe("forksafe.python where there is no Python", function()
  it("says so under forksafe prefork, and the hook goes on", function()
    local directory = application()
    local result = support.run { support.paths.command, "prefork", "--workers", "2", "--once", directory .. "/production.ini", "--", "/bin/true" }
    assert.equal(2, servers.count(result.output, "connect: no python here%."))
    assert.equal(2, servers.count(result.output, "later: not there%."))
  end)

  it("says so under nginx, and it serves", function()
    local directory, port = application()
    support.write(directory .. "/nginx.conf", ([[
load_module %s;
daemon off;
worker_processes 2;
error_log stderr info;
pid %s/pid;
forksafe %s/production.ini;
events {}
http { access_log off; server { listen 127.0.0.1:%d; location / { return 200 ok; } } }
]]):format(support.paths.nginx_module, directory, directory, port))
    local server = support.spawn { "/usr/sbin/nginx", "-p", directory, "-c", directory .. "/nginx.conf" }
    assert.equal("ok", support.http_wait(port, "/"))
    support.eventually("both workers have said it", function()
      return servers.count(server:output(), "later: not there%.") == 2, server:output()
    end)
    assert.equal(2, servers.count(server:output(), "connect: no python here%."))
  end)
end)
