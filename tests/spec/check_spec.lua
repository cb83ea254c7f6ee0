-- SPDX-License-Identifier: MIT
--
-- `forksafe check`: real servers, with an adapter of their own and without, are booted, judged and ended; nothing of them is left, and the exit
-- code is what CI needs.
local cjson = require "cjson"
local lfs = require "lfs"
local support = require "support"

local HERE = support.paths.data .. "/check"
local DOCTOR = support.paths.data .. "/doctor"
local AUDIT = support.paths.data .. "/audit"
local PYTHON = "/usr/bin/python3"

-- The process that connections lead to; its port.
local function start_peer()
  local peer = support.spawn { PYTHON, DOCTOR .. "/peer.py", support.tmpdir() .. "/peer" }
  return (peer:wait_for "peer (%d+) %d+\n")
end

-- The arguments of a check, with a TMPDIR of its own: `before` stands before --, the list behind it.
local function argv_of(t)
  local argv = { support.paths.command, "check" }
  for _, word in ipairs(t.before or {}) do
    table.insert(argv, word)
  end
  table.insert(argv, "--")
  for _, word in ipairs(t) do
    table.insert(argv, word)
  end
  argv.cwd, argv.timeout = t.cwd, 60
  argv.env = { TMPDIR = support.tmpdir(), PYTHONPATH = table.concat({ AUDIT, DOCTOR, support.paths.python }, ":") }
  for name, value in pairs(t.env or {}) do
    argv.env[name] = value
  end
  return argv
end

local function entries(directory)
  local names = {}
  for name in lfs.dir(directory) do
    table.insert(names, name:sub(1, 1) ~= "." and name or nil)
  end
  return names
end

-- Runs a check to its end; nothing of the server may be left then, nor of the directory of its journals.
local function check(t)
  local argv = argv_of(t)
  local result = support.run(argv)
  assert.same({}, support.left_behind(), result.output)
  assert.same({}, entries(argv.env.TMPDIR), result.output)
  assert.same({}, entries(support.runtime_dir()), result.output)
  return result
end

-- The same with --json: the object, and the exit code.
local function examine(t)
  t.before = t.before or {}
  table.insert(t.before, 1, "--json")
  local result = check(t)
  local ok, object = pcall(cjson.decode, result.stdout)
  assert.truthy(ok, result.output)
  return object, result.code, result
end

local function ids(object)
  local list = {}
  for _, finding in ipairs(object.findings) do
    table.insert(list, finding.id)
  end
  table.sort(list)
  return list
end

local function gunicorn(t)
  local argv = { "/usr/bin/gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:0", "app", cwd = t.cwd or AUDIT, before = t.before,
    env = t.env }
  for i, word in ipairs(t) do
    table.insert(argv, i + 1, word)
  end
  return argv
end

-- gunicorn with forksafe in its own configuration, and a hook that says at which hook it ran.
local function configured(keys)
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/postfork.lua", "return function(event) forksafe.log.info('ran at %s', event.hook) end\n")
  support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n" .. (keys or ""))
  support.write(directory .. "/config.py", "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n")
  return directory
end

local function forks(t)
  table.insert(t, 1, HERE .. "/forks.py")
  table.insert(t, 1, PYTHON)
  return t
end

local NGINX = [[
daemon %s;
user root;
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http { access_log off; server { listen 127.0.0.1:%d reuseport; } }
]]

local APACHE = [[
ServerRoot DIR
PidFile DIR/pid
ServerName localhost
Listen 127.0.0.1:PORT
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
StartServers 2
MinSpareServers 1
User www-data
Group www-data
ErrorLog DIR/error.log
]]

local function nginx(daemon, t)
  local directory = support.tmpdir()
  support.write(directory .. "/nginx.conf", (t and t.before_conf or "") .. NGINX:format(daemon, support.free_port()))
  return { "/usr/sbin/nginx", "-p", directory, "-c", "nginx.conf", cwd = directory, env = t and t.env }
end

local function uwsgi(t)
  local argv = { "uwsgi", "--plugins-dir", support.paths.uwsgi_plugin:match "^(.*)/", "--plugin", "python3", "--http-socket",
    "127.0.0.1:" .. support.free_port(), "--master", "--processes", "2", "--module", "app", cwd = AUDIT, env = t.env }
  for _, word in ipairs(t) do
    table.insert(argv, word)
  end
  return argv
end

describe("forksafe check", function()
  it("names a connection that gunicorn's workers share, as a text and with exit code 1", function()
    local port = start_peer()
    local result = check(gunicorn { env = { UNSAFE = "tcp", PEER_PORT = port } })
    assert.equal(1, result.code, result.output)
    local first, what, fix = result.stdout:match "^([^\n]+)\n        ([^\n]+)\n        fix: ([^\n]+)\n"
    assert.equal("high    shared-connection:127.0.0.1:" .. port, first)
    assert.truthy(what:find("127.0.0.1:" .. port .. " is open in the master and 2 processes", 1, true), what)
    assert.truthy(fix:find('event.process:quarantine{ peer = "127.0.0.1:' .. port, 1, true), fix)
    assert.truthy(result.stdout:find("\n1 finding: 1 high, 0 medium, 0 low (2 workers, told by preload)\n", 1, true), result.stdout)
    assert.truthy(result.stderr:find("Booting worker", 1, true), "its output is on standard error")
  end)

  it("gives 0 for what a baseline has, and says what of the baseline fits nothing", function()
    local port, baseline = start_peer(), support.tmpdir() .. "/baseline"
    local env = { UNSAFE = "tcp", PEER_PORT = port }
    assert.equal(0, check(gunicorn { env = env, before = { "--write-baseline", baseline } }).code)
    assert.truthy(support.read(baseline):find("\nshared-connection:127.0.0.1:" .. port .. "\n", 1, true))
    support.write(baseline, support.read(baseline) .. "shared-epoll\n")
    local result = check(gunicorn { env = env, before = { "--baseline", baseline } })
    assert.equal(0, result.code, result.output)
    assert.truthy(result.stdout:find("^known     shared%-connection:127.0.0.1:" .. port .. "\n"), result.stdout)
    assert.truthy(result.stdout:find('note: nothing is found any more that the baseline\'s "shared-epoll" fits', 1, true), result.stdout)
    local object, code = examine(gunicorn { env = { UNSAFE = "tcp eventfd", PEER_PORT = port }, before = { "--baseline", baseline } })
    assert.equal(1, code)
    local known = {}
    for _, finding in ipairs(object.findings) do
      known[finding.kind] = finding.known
    end
    assert.same({ ["shared-connection"] = true, ["shared-eventfd"] = false }, known)
    assert.same({ "shared-epoll" }, object.unused)
  end)

  it("leaves the telling to gunicorn's own adapter, where it has one", function()
    local directory = configured()
    local object, code, result = examine(gunicorn { "--config", "config.py", cwd = directory,
      env = { FORKSAFE_INI = directory .. "/production.ini" } })
    assert.same({ {}, 0, "audit", { "gunicorn" }, 2 }, { ids(object), code, object.seen_by, object.containers, object.workers })
    assert.equal(2, select(2, result.stderr:gsub("ran at containers.gunicorn.post_fork\n", "")), result.stderr)
    assert.equal(2, select(2, result.stderr:gsub("ran at ", "")), result.stderr)
  end)

  it("leaves it to that also where the configuration forks before it names the adapter", function()
    local directory = configured()
    support.write(directory .. "/config.py", "import os\nos.waitpid(os.fork() or os._exit(0), 0)\n" .. support.read(directory .. "/config.py"))
    local _, code, result = examine(gunicorn { "--config", "config.py", cwd = directory, env = { FORKSAFE_INI = directory .. "/production.ini" } })
    assert.equal(0, code, result.output)
    assert.equal(2, select(2, result.stderr:gsub("ran at containers.gunicorn.post_fork\n", "")), result.stderr)
    assert.truthy(select(2, result.stderr:gsub("ran at containers.preload", "")) <= 1, result.stderr) -- in what the configuration forked
  end)

  it("leaves it to `forksafe prefork` too, and to what its workers are", function()
    local directory = configured()
    local object, code, result = examine { support.paths.command, "prefork", "--workers", "2", directory .. "/production.ini", "--", PYTHON,
      HERE .. "/forks.py" }
    assert.same({ {}, 0, { "prefork" }, 2 }, { ids(object), code, object.containers, object.workers })
    assert.equal(2, select(2, result.stderr:gsub("ran at ", "")), result.stderr)
  end)

  it("runs the hooks of an ini that it is given, and takes what they repair for no failure", function()
    local port, directory = start_peer(), configured()
    support.write(directory .. "/hooks/repair.postfork.lua", ("return function(event) event.process:quarantine{ peer = ':%s' } end\n"):format(port))
    local object, code, result = examine(gunicorn { env = { UNSAFE = "tcp", PEER_PORT = port }, before = { directory .. "/production.ini" } })
    assert.equal(0, code, result.output)
    assert.same({ { "shared-connection:127.0.0.1:" .. port }, "repaired" }, { ids(object), object.findings[1].state })
    assert.equal(2, select(2, result.stderr:gsub("ran at containers.preload.atfork_child\n", "")), result.stderr)
  end)

  it("finds them in uWSGI, with its plugin and without", function()
    local port, directory = start_peer(), configured()
    local env = { UNSAFE = "tcp", PEER_PORT = port }
    local id = "shared-connection:127.0.0.1:" .. port
    local object, code, result = examine(uwsgi { "--plugin", "forksafe", "--forksafe", directory .. "/production.ini", "--die-on-term", env = env })
    assert.same({ { id }, 1, { "uwsgi" } }, { ids(object), code, object.containers })
    assert.equal(2, select(2, result.stderr:gsub("ran at ", "")), result.stderr)
    object, code, result = examine(uwsgi { env = env })
    assert.same({ { id }, 1, { "preload" } }, { ids(object), code, object.containers })
    assert.falsy(result.stderr:find("was killed", 1, true), "TERM is a reload here: INT ends it")
  end)

  it("finds nothing in a plain nginx, whether it daemonises or not, with its module and without", function()
    local object, code = examine(nginx "off")
    assert.same({ {}, 0, "audit", { "preload" }, 2 }, { ids(object), code, object.seen_by, object.containers, object.workers })
    object, code = examine(nginx "on")
    assert.same({ {}, 0, "doctor", {}, 2 }, { ids(object), code, object.seen_by, object.containers, object.workers })
    assert.truthy(object.notes[1]:find("looked at from outside", 1, true), object.notes[1])
    local directory = configured()
    for _, daemon in ipairs { "off", "on" } do
      object, code = examine(nginx(daemon, { before_conf = ("load_module %s;\nforksafe %s/production.ini;\n"):format(support.paths.nginx_module, directory) }))
      assert.same({ {}, 0, { "nginx" }, 2 }, { ids(object), code, object.containers, object.workers })
    end
  end)

  it("finds nothing in a plain PHP-FPM, whose workers close the event loop of its master, and in a plain Puma", function()
    local directory = support.tmpdir()
    support.write(directory .. "/fpm.conf", ("[global]\nerror_log = /dev/stderr\ndaemonize = no\n[www]\nuser = www-data\nlisten = %s/fpm\n" ..
      "pm = static\npm.max_children = 2\n"):format(directory))
    local object, code = examine { "php-fpm8.2", "--nodaemonize", "--fpm-config", directory .. "/fpm.conf" }
    assert.same({ {}, 0, { "preload" }, 2 }, { ids(object), code, object.containers, object.workers })
    support.write(directory .. "/config.ru", "run ->(env) { [200, {}, []] }\n")
    object, code = examine { "puma", "--workers", "2", "--preload", "--bind", "tcp://127.0.0.1:0", directory .. "/config.ru", cwd = directory }
    assert.same({ {}, 0, { "preload" }, 2 }, { ids(object), code, object.containers, object.workers })
  end)

  it("keeps whoever runs it from Apache, which ends its whole process group", function()
    local directory = support.tmpdir()
    support.write(directory .. "/httpd.conf", (APACHE:gsub("DIR", directory):gsub("PORT", support.free_port())))
    local argv = argv_of { "/usr/sbin/apache2", "-f", directory .. "/httpd.conf", "-DFOREGROUND" }
    local result = support.run { "/bin/sh", "-c", '"$@"; echo "ended with $?"', "sh", env = argv.env, unpack(argv) }
    assert.equal("nothing found that was not safe to fork (2 workers, told by preload)\nended with 0\n", result.stdout, result.output)
    assert.same({}, support.left_behind())
  end)

  it("finds what a plain program shares, also one that has ended by itself", function()
    local port = start_peer()
    local env = { PEER_PORT = port }
    local id = "shared-connection:127.0.0.1:" .. port
    for _, words in ipairs { { "tcp", env = env }, { "tcp", "done", env = env } } do
      local object, code, result = examine(forks(words))
      assert.same({ { id }, 1, 2 }, { ids(object), code, object.workers }, result.output)
    end
    local one = examine(forks { "epoll", "one", env = {} })
    assert.same({ { "shared-epoll" }, 1 }, { ids(one), one.workers })
    local object, code = examine { "/bin/sh", "-c", PYTHON .. " " .. HERE .. "/forks.py epoll; exit 3", env = env }
    assert.same({ { "shared-epoll" }, 1 }, { ids(object), code })
  end)

  it("ends with one line and 1 where there is nothing to look at", function()
    local function fails(t)
      local result = check(t)
      assert.equal(1, result.code, result.output)
      assert.equal("", result.stdout)
      return result.stderr
    end
    assert.equal("forksafe check: /no/such: there is no such program\n", fails { "/no/such" })
    assert.equal("forksafe check: /bin/false exited with status 1 before its workers were ready; what it said stands above\n",
      fails { "/bin/false" })
    assert.equal("forksafe check: /bin/sleep forked no worker within 1 s; --wait gives it longer\n",
      fails { "/bin/sleep", "600", before = { "--wait", "1" } })
    assert.equal("forksafe check: FORKSAFE=off is in the environment: nothing would be looked at; unset it\n",
      fails { "/bin/sleep", "600", env = { FORKSAFE = "off" } })
    local directory = configured "forksafe.audit = off\n"
    assert.equal(("forksafe check: %s/production.ini: forksafe.audit is off: nothing would be looked at; set it\n"):format(directory),
      fails { "/bin/sleep", "600", before = { directory .. "/production.ini" } })
    assert.truthy(fails({ "/bin/sleep", "600", before = { "--baseline", "/no/such" } }):find "^forksafe check: /no/such: [^\n]+\n$")
  end)

  it("does not wait longer than it is told for workers that are not ready, and says so", function()
    local directory = configured()
    support.write(directory .. "/app.py", "import time\ntime.sleep(600)\n")
    local argv = gunicorn { "--config", "config.py", cwd = directory, env = { FORKSAFE_INI = directory .. "/production.ini" },
      before = { "--wait", "3" } }
    table.remove(argv, 4) -- without --preload workers load it
    assert.equal("--workers", argv[4])
    argv.env.PYTHONPATH = directory .. ":" .. support.paths.python
    local object, code, result = examine(argv)
    assert.equal(1, code)
    assert.truthy(object.problem:find "^2 of 2 workers were not ready within 3 s", object.problem)
    assert.truthy(result.stderr:find("forksafe check: 2 of 2 workers were not ready", 1, true))
  end)

  it("gives 1 for a server whose workers fail one after another", function()
    local result = check(forks { "failing", env = {}, before = { "--wait", "1" } })
    assert.equal(1, result.code, result.output)
    assert.truthy(result.stderr:find("forksafe check: %d+ workers failed within 1 s, and others came"), result.stderr)
  end)

  it("says where nothing can be preloaded, and goes on", function()
    local result = check { support.paths.build .. "/runtime/forksafe-doctor", "--version" }
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("the preload adapter is left out: it is linked statically", 1, true), result.stderr)
    assert.truthy(result.stderr:find("forksafe-doctor exited with status 0 before its workers were ready", 1, true), result.stderr)
  end)

  it("kills what does not end when it is asked", function()
    local result = check(forks { "stubborn", env = {} })
    assert.equal(0, result.code, result.output)
    assert.truthy(result.stderr:find("did not end when asked (TERM, INT), and was killed", 1, true), result.stderr)
  end)

  it("ends the server when it is interrupted, and then by that signal", function()
    local argv = argv_of(forks { before = { "--wait", "60" }, env = {} })
    local process = support.spawn(argv)
    local first = tonumber(process:wait_for "forked (%d+)")
    process:signal "INT"
    assert.same({ "killed", 2 }, { process:wait() })
    assert.falsy(support.alive(first))
    assert.same({}, support.left_behind())
    assert.same({}, entries(argv.env.TMPDIR))
    assert.truthy(process:stderr():find("forksafe check: interrupted; " .. PYTHON .. " has been ended\n$"), process:stderr())
  end)

  it("takes its arguments apart, and says what is wrong with them", function()
    for _, words in ipairs { { "check" }, { "check", "a.ini" }, { "check", "a.ini", "b.ini", "--", "true" }, { "check", "--" },
      { "check", "--wait", "0", "--", "true" }, { "check", "--wait", "x", "--", "true" }, { "check", "--color=x", "--", "true" } } do
      table.insert(words, 1, support.paths.command)
      local result = support.run(words)
      assert.equal(2, result.code, table.concat(words, " ") .. result.output)
    end
  end)
end)
