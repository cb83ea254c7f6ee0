-- SPDX-License-Identifier: MIT
--
-- Promise 19: the host's own Lua, signals and descriptors are untouched. A host that looks at itself around everything the library does,
-- also when subscribers are stopped (quiet_host.c), and nginx with the Lua of OpenResty in the same workers. containers_spec.lua compares
-- each container with itself switched off; isolation_spec.lua has PUC Lua, apache_spec.lua mod_lua.
local promises = require "support.promises"
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
