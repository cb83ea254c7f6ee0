-- SPDX-License-Identifier: MIT
--
-- Promise 19: the host's own Lua, signals and descriptors are untouched. A host that looks at itself around everything the library does,
-- also when subscribers are stopped (quiet_host.c); nginx with the Lua of OpenResty, and HAProxy with PUC Lua, in the same processes.
-- containers_spec.lua compares each container with itself switched off; isolation_spec.lua has PUC Lua, apache_spec.lua mod_lua.
local promises = require "support.promises"
local state = require "promises.state"
local scripts = require "support.scripts"
local said = require "support.server"
local support = require "support"

describe("promise 19: a host", function()
  promises.it(19, "library", "finds its signals, masks, timers, stack, descriptors, umask and errno as it left them", function()
    local stopped = "local function f() return 1 + f() end return function() pcall(f) error({}) end"
    local ini = scripts.application({
      ["1.masterready.lua"] = "return function() while true do end end", ["2.masterready.lua"] = stopped,
      ["1.postfork.lua"] = "return function() while true do end end", ["2.postfork.lua"] = stopped, ["prefork.lua"] = stopped,
      ["1.workerexit.lua"] = "return function() local t = {} while true do t[#t + 1] = ('x'):rep(4096) .. #t end end",
    }, "forksafe.time_limit = 100ms\nforksafe.memory_limit = 4M\n")
    local next_ini = scripts.application { ["postfork.lua"] = "return" }
    local result = support.run { support.paths.build .. "/tests/promises/quiet_host", ini, next_ini, timeout = 60 }
    assert.equal("looked 4 times\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
    assert.truthy(result.stderr:find("longer than forksafe.time_limit allows", 1, true), result.stderr)
    assert.truthy(result.stderr:find("not enough memory", 1, true), result.stderr)
  end)

  promises.it(19, "library", "finds errno as it left it, where a call in a hook failed", function()
    local fails = "return function() assert(not io.open '/nowhere/at-all') end"
    local ini = scripts.application({ ["masterready.lua"] = fails, ["workerexit.lua"] = fails }, "forksafe.lua_libs = full\n")
    local result = support.run { support.paths.build .. "/tests/promises/quiet_host", ini, timeout = 60 }
    assert.equal("looked 4 times\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
    assert.is_nil(result.stderr:find("failed", 1, true), result.stderr)
  end)
end)

describe("promise 19: nginx with its own LuaJIT in the same workers", function()
  local MODULES = "/usr/lib/nginx/modules/"
  local CONFIGURATION = [[
LOAD
forksafe production.ini;
daemon off; user root; worker_processes 3; pid nginx.pid; error_log stderr notice;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary; uwsgi_temp_path temporary; scgi_temp_path temporary;
  init_by_lua_block { counter = 40 }
  init_worker_by_lua_block { counter = counter + 1 }
  server { listen 127.0.0.1:PORT reuseport; location / { content_by_lua_block {
    counter = counter + 1
    local text = ("%d %s"):format(counter, type(forksafe))
    for _ = 1, 1000 do pcall(error, {}) end
    ngx.print(ngx.worker.pid(), " ", text, " ", jit.status() and "jit" or "no jit", " ", require("ffi").sizeof("int"))
  } } }
}
]]

  local loads = {
    ["before it"] = { "ours", "ndk_http_module.so", "ngx_http_lua_module.so" },
    ["after it"] = { "ndk_http_module.so", "ngx_http_lua_module.so", "ours" },
  }
  for order, modules in pairs(loads) do
    promises.it(19, "nginx", "leaves it alone, loaded " .. order, function()
      local port, lines = support.free_port(), {}
      local directory = said.application { ["postfork.lua"] = "counter = 7 return function() pcall(error, {}) error('in the hook') end" }
      support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n")
      for _, name in ipairs(modules) do
        table.insert(lines, ("load_module %s;"):format(name == "ours" and support.paths.nginx_module or MODULES .. name))
      end
      support.write(directory .. "/nginx.conf", (CONFIGURATION:gsub("LOAD", table.concat(lines, "\n")):gsub("PORT", port)))
      local server = support.spawn { "/usr/sbin/nginx", "-p", directory, "-c", "nginx.conf", stop_signal = "QUIT", cwd = directory }
      server.ini = directory .. "/production.ini"
      said.wait_said(server, "PostWorkerInit", 3)
      local seen = 0
      for _ = 1, 10 do
        local status, body = support.http_get(port)
        assert.equal(200, status, said.log(server))
        assert.matches("^%d+ 4%d nil jit 4$", body)
        seen = seen + 1
      end
      assert.equal(10, seen)
      assert.equal(3, said.count(said.log(server), "in the hook") + said.count(said.log(server), "failed again"))
    end)
  end
end)

describe("promise 19: HAProxy with its own Lua 5.3 in the same processes", function()
  local CONFIGURATION = [[
global
  nbthread 2
  lua-load who.lua
  log stderr local0
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend web
  bind 127.0.0.1:PORT
  http-request use-service lua.who
]]
  local WHO = [[
counter = 40
core.register_init(function() counter = counter + 1 end)
core.register_service("who", "http", function(applet)
  counter = counter + 1
  for _ = 1, 1000 do pcall(error, {}) end
  local text = ("%s %d %s %d"):format(_VERSION, counter, type(forksafe), string.pack("i4", 7):byte())
  applet:set_status(200)
  applet:add_header("content-length", #text)
  applet:start_response()
  applet:send(text)
end)
]]

  -- A master and its worker, with hooks or as it is.
  local function start(hooked)
    local directory = said.application { ["a.postfork.lua"] = "counter = 7 return function() pcall(error, {}) error('in the hook') end",
      ["b.postfork.lua"] = "return function() while true do end end" }
    local ini = support.write(directory .. "/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\nforksafe.time_limit = 50ms\n")
    local port = support.free_port()
    support.write(directory .. "/who.lua", WHO)
    support.write(directory .. "/haproxy.cfg", (CONFIGURATION:gsub("PORT", port)))
    local argv = { cwd = directory, stop_signal = "TERM" }
    for _, word in ipairs(hooked and { support.paths.command, "run", ini, "--" } or {}) do
      table.insert(argv, word)
    end
    for _, word in ipairs { "/usr/sbin/haproxy", "-W", "-f", "haproxy.cfg" } do
      table.insert(argv, word)
    end
    local server = support.spawn(argv)
    server.ini, server.port, server.directory = ini, port, directory
    return server
  end

  -- Its one worker, whose Lua answers ten times: its own state, and nothing that hooks have done to theirs.
  local function assert_answers(server, former)
    local worker = support.eventually("there is one worker, and it answers", function()
      local children = server:children()
      return #children == 1 and children[1] ~= former and support.http_get(server.port) == 200 and children[1], server:output()
    end, 20)
    local first = tonumber(select(2, support.http_get(server.port)):match "^Lua 5%.3 (%d+) nil 7$")
    assert.is_true(first >= 42 and first < 1000, first)
    for number = first + 1, first + 10 do
      local status, body = support.http_get(server.port)
      assert.same({ 200, ("Lua 5.3 %d nil 7"):format(number) }, { status, body }, server:output())
    end
    return worker
  end

  promises.it(19, "preload", "leaves it alone, also when it reloads: its Lua answers, its signals and descriptors are its own, its forks are recorded", function()
    local server, quiet = start(true), start(false)
    local first, first_quiet = assert_answers(server), assert_answers(quiet)
    for _, one in ipairs { server, quiet } do
      one:signal "USR2"
    end
    local second, second_quiet = assert_answers(server, first), assert_answers(quiet, first_quiet)
    support.eventually("nothing differs from a HAProxy of its own", function()
      local with, without = state.of_all(server, { second }), state.of_all(quiet, { second_quiet })
      return with == without, with .. "\nwithout it:\n" .. without
    end)
    assert.same({ first, second }, said.pids_in(said.wait_said(server, "PostFork", 2)))
    assert.equal(2, said.count(server:output(), "in the hook") + said.count(server:output(), "a%.postfork' failed again"))
    assert.equal(2, said.count(server:output(), "'b%.postfork' [^\n]*longer than forksafe%.time_limit allows"))
    local object = support.debug(server.ini)
    assert.truthy(said.has(support.pids_of(object, "ApplicationPostFork"), second))
    for _, one in ipairs { server, quiet } do
      one:signal "TERM"
    end
    assert.same({ quiet:wait(10) }, { server:wait(10) })
  end)
end)
