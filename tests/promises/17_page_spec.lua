-- SPDX-License-Identifier: MIT
--
-- Promise 17: the page cannot be abused, and the server behind it least of all: not by another site in a reader's browser, not by a
-- request that would change something, not by clients that stall. serve_spec.lua has more forms of each request.
local lfs = require "lfs"
local prefork = require "containers.prefork_server"
local promises = require "support.promises"
local serve = require "support.serve"
local support = require "support"

local STALLED = 500
local PATHS = { "/", "/page.js", "/page.css", "/debug.json", "/instances.json", "/metrics", "/healthz", "/events", "/nothing" }

-- What a browser must be told of everything, so that no other site can frame, load or read it, and it loads nothing from elsewhere.
local HEADERS = {
  ["x-content-type-options"] = "nosniff", ["cross-origin-resource-policy"] = "same-origin", ["referrer-policy"] = "no-referrer",
  ["cache-control"] = "no-store",
}
local POLICY = { "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
  "frame-ancestors 'none'" }

local function start()
  local server = prefork.start { hooks = {} }
  prefork.wait_said(server, "PostWorkerInit")
  return server
end

-- A request as a browser sends it: of /events only the head, which would not end.
local function ask(web, path, headers)
  return serve.request(web, path == "/events" and "HEAD" or "GET", path, headers)
end

-- What a request that is not made by serve.request is answered: its status.
local function status_of(web, text)
  local connection = serve.connect(web)
  connection:send(text)
  local line = connection:receive "*l"
  connection:close()
  return line and tonumber(line:match "^HTTP/1%.%d (%d+)")
end

-- Every file below a directory, with its size and its modification time.
local function state_of(directory)
  local lines = {}
  for _, path in ipairs(support.all_files(directory)) do
    table.insert(lines, ("%s %d %d"):format(path, lfs.attributes(path, "size"), lfs.attributes(path, "modification")))
  end
  return table.concat(lines, "\n")
end

describe("promise 17: another site in a reader's browser", function()
  promises.it(17, "library", "is answered nothing under its own name, whatever it was made to lead to", function()
    local server = start()
    local web = serve.start { server.ini }
    local port = ":" .. web.port
    for _, host in ipairs { "evil.example.org" .. port, "evil.example.org", "localhost.evil.org" .. port, "127.0.0.1.evil.org" .. port,
      "127.0.0.2" .. port, "0.0.0.0" .. port, "[::1]" .. port, "[::ffff:127.0.0.1]x", "2130706433" .. port, "127.1" .. port, "" } do
      for _, path in ipairs(PATHS) do
        local status, body = ask(web, path, { Host = host })
        assert.is_true(status == 421 or status == 400, host .. " " .. path .. " " .. tostring(status))
        assert.is_nil(body:find(tostring(server.pid), 1, true))
        assert.is_true(#body < 200, body)
      end
    end
    for _, text in ipairs {
      "GET /debug.json HTTP/1.1\r\n\r\n", "GET /debug.json HTTP/1.0\r\n\r\n",
      "GET /debug.json HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example.org\r\n\r\n",
      "GET /debug.json HTTP/1.1\r\nHost: evil.example.org\r\nHost: 127.0.0.1\r\n\r\n",
      "GET /debug.json HTTP/1.1\r\nHost: evil.example.org, 127.0.0.1\r\n\r\n",
      "GET http://127.0.0.1/debug.json HTTP/1.1\r\nHost: evil.example.org\r\n\r\n",
    } do
      local status = status_of(web, text)
      assert.is_true(status == 421 or status == 400, text .. tostring(status))
    end
    assert.equal(200, (ask(web, "/debug.json")))
  end)

  promises.it(17, "library", "may not read, frame or load anything, whichever origin it names", function()
    local web = serve.start { start().ini }
    for _, path in ipairs(PATHS) do
      for _, origin in ipairs { "https://evil.example.org", "null", "http://127.0.0.1:" .. web.port } do
        local _, _, headers = ask(web, path, { Origin = origin, ["Access-Control-Request-Method"] = "GET" })
        for name in pairs(headers) do
          assert.is_nil(name:find "^access%-control" or name:find "^set%-cookie", path .. " " .. name)
        end
        for name, value in pairs(HEADERS) do
          assert.equal(value, headers[name], path)
        end
        for _, directive in ipairs(POLICY) do
          assert.matches(directive, headers["content-security-policy"], 1, true)
        end
        assert.is_nil(headers["content-security-policy"]:match "unsafe" or headers["content-security-policy"]:match "%*")
      end
    end
  end)

  promises.it(17, "library", "can change nothing: only GET and HEAD are understood, and those leave every file as it was", function()
    local server = start()
    local web = serve.start { server.ini }
    local before = state_of(support.runtime_dir())
    for _, method in ipairs { "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "GETX" } do
      for _, path in ipairs(PATHS) do
        local status, _, headers = serve.request(web, method, path, { ["Content-Length"] = "0", ["Content-Type"] = "text/plain" })
        assert.same({ 405, "GET, HEAD" }, { status, headers.allow }, method .. " " .. path)
      end
    end
    local host = "Host: 127.0.0.1:" .. web.port .. "\r\n"
    assert.equal(405, status_of(web, "POST / HTTP/1.1\r\n" .. host .. "Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"))
    assert.equal(405, status_of(web, "POST /?_method=GET HTTP/1.1\r\n" .. host .. "X-HTTP-Method-Override: GET\r\nContent-Length: 3\r\n\r\na=b"))
    for _, path in ipairs(PATHS) do
      ask(web, path)
    end
    assert.equal(before, state_of(support.runtime_dir()))
    assert.equal(2, #server:children())
  end)

  promises.it(17, "library", "gets no file of the disk", function()
    local web = serve.start { start().ini }
    for _, path in ipairs { "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/etc/passwd", "/page_../../etc/passwd", "/page_%2e%2e",
      "/page.js/../../main.c", "/production.ini%00.js", "/.", "/..", "/index.html", "/debug.json/../../production.ini", "/page_/" .. support.runtime_dir() } do
      local status, body = ask(web, path)
      assert.is_true(status == 404 or status == 400, path .. " " .. tostring(status))
      assert.is_true(#body < 200, body)
    end
  end)

  promises.it(17, "library", "cannot make it large: heads, bodies and questions without an end are refused", function()
    local web = serve.start { start().ini }
    local host = "Host: 127.0.0.1:" .. web.port .. "\r\n"
    ask(web, "/debug.json")
    local function resident()
      return tonumber(support.read("/proc/" .. web.pid .. "/status"):match "VmRSS:%s+(%d+) kB")
    end
    local before, large = resident(), ("x"):rep(60000)
    for _ = 1, 20 do
      for _, text in ipairs {
        "GET /" .. large .. " HTTP/1.1\r\n" .. host .. "\r\n", "GET / HTTP/1.1\r\n" .. host .. "X: " .. large .. "\r\n\r\n",
        "GET / HTTP/1.1\r\n" .. host .. ("A: b\r\n"):rep(9000) .. "\r\n", "GET /debug.json?" .. ("a=b&"):rep(9000) .. " HTTP/1.1\r\n" .. host .. "\r\n",
      } do
        local status = status_of(web, text)
        assert.is_true(status == nil or status >= 400, tostring(status))
      end
      assert.equal(405, status_of(web, "PUT / HTTP/1.1\r\n" .. host .. "Content-Length: 60000\r\n\r\n" .. large))
    end
    assert.is_true(resident() - before < 4096, resident() - before .. " kB")
    assert.equal(200, (ask(web, "/healthz")))
  end)
end)

describe("promise 17: forksafe serve", function()
  promises.it(17, "library", ("answers every scrape while %d sockets stall"):format(STALLED), function()
    local web = serve.start { start().ini }
    local partial = { "", "GET /metr", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" }
    for i = 1, STALLED do
      local connection = serve.connect(web)
      connection:send(partial[i % #partial + 1])
    end
    for _ = 1, 5 do -- none of the stalled is let go of before its ten seconds: one that waited for them would not answer in time
      assert.matches("forksafe_build_info", serve.get(web, "/metrics"), 1, true)
    end
  end)

  promises.it(17, "library", "listens on the loopback only, unless told otherwise", function()
    local web = serve.start { start().ini }
    local listening = 0
    for _, name in ipairs { "tcp", "tcp6" } do
      for line in (support.read("/proc/net/" .. name) or ""):gmatch "[^\n]+" do
        local address, port, state = line:match "^%s*%d+: (%x+):(%x+) %x+:%x+ (%x+)"
        if port and tonumber(port, 16) == web.port and state == "0A" then
          listening = listening + 1
          assert.equal("0100007F", address)
        end
      end
    end
    assert.equal(1, listening)
  end)

  promises.it(17, "library", "is a process of its own: the server has no socket, thread or descriptor of it, and does not notice its end", function()
    local server = start()
    local function counts_of(pid)
      local fds, threads = 0, 0
      for _ in pairs(support.fds(pid)) do
        fds = fds + 1
      end
      for _ in lfs.dir("/proc/" .. pid .. "/task") do
        threads = threads + 1
      end
      return { fds, threads }
    end
    local pids, before = { server.pid, unpack(server:children()) }, {}
    for i, pid in ipairs(pids) do
      before[i] = counts_of(pid)
    end
    local web = serve.start { server.ini }
    serve.get(web, "/debug.json")
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    for i, pid in ipairs(pids) do
      assert.same(before[i], counts_of(pid))
    end
    web:signal "KILL"
    assert.same({ "killed", 9 }, { web:wait() })
    assert.equal(2, #server:children())
    assert.is_nil(server:stderr():find("Broken pipe", 1, true))
  end)
end)
