-- SPDX-License-Identifier: MIT
--
-- forksafe serve over real HTTP: what each path answers, to whom, and how it lives with servers that come and go, with
-- journals that are damaged and with clients that stall. serve_events_spec.lua is about the live stream.
local cjson = require "cjson"
local stat = require "posix.sys.stat"
local prefork = require "containers.prefork_server"
local serve = require "support.serve"
local support = require "support"

local STRICT = {
  ["content-security-policy"] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ["x-content-type-options"] = "nosniff",
  ["referrer-policy"] = "no-referrer",
  ["cache-control"] = "no-store",
  ["cross-origin-resource-policy"] = "same-origin",
}

local function start(options)
  local server = prefork.start(options or {})
  prefork.assert_started(server)
  return server
end

-- The debug object's text but for when it was made.
local function undated(text)
  return (text:gsub('"generated_at":"[^"]*"', "", 1))
end

describe("forksafe serve", function()
  it("answers /debug.json as the command prints it, byte for byte", function()
    local server = start()
    local web = serve.start { server.ini }
    support.eventually("both are the same", function()
      local printed = support.must_run { support.paths.command, "debug", "--compact", server.ini }
      local status, body, headers = serve.request(web, "GET", "/debug.json")
      return status == 200 and headers["content-type"] == "application/json" and undated(printed) == undated(body),
        printed .. body
    end)
  end)

  it("answers every path with its type and the strict headers", function()
    local web = serve.start { start().ini }
    for path, expected in pairs {
      ["/"] = { 200, "text/html; charset=utf-8" },
      ["/page.css"] = { 200, "text/css; charset=utf-8" },
      ["/page.js"] = { 200, "text/javascript; charset=utf-8" },
      ["/debug.json"] = { 200, "application/json" },
      ["/instances.json"] = { 200, "application/json" },
      ["/metrics"] = { 200, "text/plain; version=0.0.4; charset=utf-8" },
      ["/healthz"] = { 200, "text/plain; charset=utf-8" },
      ["/nothing"] = { 404, "text/plain; charset=utf-8" },
      ["/../etc/passwd"] = { 404, "text/plain; charset=utf-8" },
      ["/debug.json?records=x"] = { 400, "text/plain; charset=utf-8" },
      ["/debug.json?instance=none"] = { 404, "text/plain; charset=utf-8" },
    } do
      local status, body, headers = serve.request(web, "GET", path)
      assert.same(expected, { status, headers["content-type"] }, path)
      assert.equal(#body, tonumber(headers["content-length"]))
      for name, value in pairs(STRICT) do
        assert.equal(value, headers[name], path)
      end
    end
    assert.equal("ok\n", serve.get(web, "/healthz"))
    for file, path in pairs { ["index.html"] = "/", ["page.css"] = "/page.css", ["page.js"] = "/page.js" } do
      assert.equal(support.read(support.paths.root .. "/runtime/cli/page/" .. file), serve.get(web, path))
    end
  end)

  it("answers HEAD without a body, and other methods with 405", function()
    local web = serve.start { start().ini }
    for _, path in ipairs { "/", "/page.js", "/debug.json", "/events", "/metrics", "/nothing" } do
      local status, body, headers = serve.request(web, "HEAD", path)
      assert.same({ path == "/nothing" and 404 or 200, "" }, { status, body })
      assert.equal("nosniff", headers["x-content-type-options"])
    end
    for _, method in ipairs { "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X" } do
      for _, path in ipairs { "/", "/events", "/nothing" } do
        local status, _, headers = serve.request(web, method, path, { ["Content-Length"] = "0" })
        assert.same({ 405, "GET, HEAD", "no-store" }, { status, headers.allow, headers["cache-control"] }, method)
      end
    end
    assert.equal("ok\n", serve.get(web, "/healthz"))
  end)

  it("answers a Host that is not its own with 421", function()
    local web = serve.start { start().ini, "--host", "status.example.org", "-H", "other" }
    local port = web.port
    for host, expected in pairs {
      ["127.0.0.1:" .. port] = 200, ["127.0.0.1"] = 200, ["localhost:" .. port] = 200, ["LOCALHOST"] = 200,
      ["status.example.org"] = 200, ["Status.Example.Org:443"] = 200, ["other:80"] = 200,
      ["127.0.0.2:" .. port] = 421, ["evil.example.org"] = 421, ["localhost.evil.org"] = 421, ["status.example.org.evil.org"] = 421,
      ["evil:127.0.0.1"] = 421, ["[::1]:" .. port] = 421, ["[127.0.0.1"] = 421, ["localhost:80x"] = 421, [":80"] = 421,
    } do
      for _, path in ipairs { "/", "/debug.json", "/events", "/healthz" } do
        local method = path == "/events" and "HEAD" or "GET"
        local status, _, headers = serve.request(web, method, path, { Host = host })
        assert.same({ expected, "nosniff" }, { status, headers["x-content-type-options"] }, host)
      end
    end
    local connection = serve.connect(web) -- HTTP/1.0 needs no Host, and this server does
    connection:send "GET /debug.json HTTP/1.0\r\n\r\n"
    assert.matches("^HTTP/1.%d 421 ", connection:receive "*l")
    connection = serve.connect(web)
    connection:send(("GET /debug.json HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nHost: evil\r\n\r\n"):format(port))
    assert.matches("^HTTP/1.1 421 ", connection:receive "*l")
  end)

  it("gives the metrics that the command prints, OpenMetrics where they are asked for", function()
    local server = start()
    local web = serve.start { server.ini }
    local printed = support.must_run { support.paths.command, "debug", "--metrics", server.ini }
    assert.matches("forksafe_build_info", printed, 1, true)
    assert.equal(printed, serve.get(web, "/metrics"))
    for accept, open in pairs {
      ["application/openmetrics-text; version=1.0.0,text/plain;q=0.5"] = true,
      ["text/plain;q=0.5, application/openmetrics-text;q=0.1"] = true,
      ["application/openmetrics-text;q=0, text/plain"] = false,
      ["*/*"] = false,
    } do
      local status, body, headers = serve.request(web, "GET", "/metrics", { Accept = accept })
      assert.equal(200, status)
      assert.equal(open, headers["content-type"]:find("openmetrics-text", 1, true) ~= nil, accept)
      assert.equal(open, body:find("# EOF\n", 1, true) ~= nil, accept)
    end
  end)

  it("gives only the records that are asked for, and keys", function()
    local server = start { workers = 3 }
    local web = serve.start { server.ini }
    local whole = serve.get(web, "/debug.json")
    assert.is_true(#whole.records > 6)
    assert.same({}, serve.get(web, "/debug.json?records=0").records)
    local two = serve.get(web, "/debug.json?records=2").records
    assert.same({ 2, whole.records[#whole.records].pid }, { #two, two[2].pid })

    local middle = whole.records[4].at
    local from, to = serve.get(web, "/debug.json?records_from=" .. middle).records, serve.get(web, "/debug.json?records_to=" .. middle).records
    assert.is_true(#from < #whole.records and #to < #whole.records and #from + #to >= #whole.records)
    assert.equal(#to, #serve.get(web, "/debug.json?records_to=" .. middle:gsub("Z$", "+00:00")).records)
    assert.equal(#whole.records, #serve.get(web, "/debug.json?records_from=2000-01-01T00:00:00%2b02:00").records)
    assert.same({}, serve.get(web, "/debug.json?records_from=2199-12-31T23:59:59.9Z").records)
    for _, bad in ipairs { "records=-1", "records=", "records=1e3", "records_from=yesterday", "records_to=2026-13-01T00:00:00Z", "records_to=2026-01-01T00:00:00", "keys=yes" } do
      assert.equal(400, (serve.request(web, "GET", "/debug.json?" .. bad)), bad)
    end

    local seen = {}
    local keyed = serve.get(web, "/debug.json?keys=1")
    for _, list in ipairs { keyed.records, keyed.processes } do
      for _, item in ipairs(list) do
        assert.is_string(item.key)
        assert.is_nil(seen[item.key])
        seen[item.key] = true
      end
    end
    assert.is_nil(whole.records[1].key)
    for _, item in ipairs(serve.get(web, "/debug.json?keys=1").records) do
      assert.is_true(seen[item.key])
    end
  end)

  it("keeps names and texts with markup and control characters intact in the JSON", function()
    local name = "<img src=x onerror=alert(1)>\27[31m\"\\'&\226\128\174"
    local server = prefork.start { hooks = { ["markup.lua"] = ("forksafe.subscribe('ApplicationPostFork', function() error('</script>\\27[2J') end, { name = %q })"):format(name) } }
    prefork.wait_said(server, "PostWorkerInit")
    local web = serve.start { server.ini }
    local status, text, headers = serve.request(web, "GET", "/debug.json")
    assert.same({ 200, "application/json" }, { status, headers["content-type"] })
    assert.is_nil(text:find "[%z\1-\9\11-\31\127]")
    local object = cjson.decode(text)
    local failed = support.records_of(object, "ApplicationPostFork")[1]
    assert.same({ name, "error" }, { failed.subscriber, failed.outcome })
    local own = serve.get(web, "/metrics")
    assert.is_nil(own:find "\27")
  end)

  it("never gives the value of a setting", function()
    local directory = support.tmpdir()
    support.write(directory .. "/hooks/postfork.lua", [[return function(event) error("the password is " .. event.registry.settings["db.password"]) end]])
    local ini = support.write(directory .. "/app.ini", "[forksafe]\nscripts = hooks\n[settings]\ndb.password = hunter2-canary\n")
    start { ini = ini }
    local web = serve.start { ini }
    for _, path in ipairs { "/debug.json", "/instances.json", "/metrics" } do
      local _, text = serve.request(web, "GET", path)
      assert.is_nil(text:find("hunter2", 1, true), path)
    end
  end)

  it("tells several instances apart", function()
    local one, two = start(), start()
    local web = serve.start {}
    local names = {}
    for _, instance in ipairs(serve.get(web, "/instances.json").instances) do
      assert.same({ "forksafe prefork hook configured", "forksafe prefork", true }, { instance.status, instance.environment, instance.alive })
      table.insert(names, instance.instance)
    end
    assert.equal(2, #names)
    local status, line = serve.request(web, "GET", "/debug.json")
    assert.equal(400, status)
    assert.matches("there are 2 instances, name one", line, 1, true)
    assert.equal(400, (serve.request(web, "GET", "/events")))
    local masters = {}
    for _, name in ipairs(names) do
      local object = serve.get(web, "/debug.json?instance=" .. name)
      assert.equal(name, object.instance)
      masters[object.masters[1].pid] = true
    end
    assert.same({ [one.pid] = true, [two.pid] = true }, masters)
    two:stop()
    local alive = {}
    for _, instance in ipairs(serve.get(web, "/instances.json").instances) do
      table.insert(alive, instance.alive)
    end
    table.sort(alive, function(a, b) return a and not b end)
    assert.same({ true, false }, alive)
  end)
end)

describe("the process of forksafe serve", function()
  it("ends with 0 at TERM and at INT, with clients that listen and clients that stall", function()
    local server = start()
    for _, name in ipairs { "TERM", "INT" } do
      local web = serve.start { server.ini }
      local client, stalled = serve.listen(web), serve.connect(web)
      stalled:send "GET / HT"
      client:wait_for("hello", "hello")
      web:signal(name)
      assert.same({ "exited", 0 }, { web:wait() })
      support.eventually("the stream has ended", function()
        return not client:read()
      end)
      assert.equal("", web:stderr())
    end
  end)

  it("shows a server that starts later, restarts and dies", function()
    local ini = prefork.application()
    local web = serve.start { ini }
    assert.matches("has not been started", web:stderr(), 1, true)
    assert.same({ instances = {} }, serve.get(web, "/instances.json"))
    assert.equal("attempting auto-configure", serve.get(web, "/debug.json").status)

    local unseen = start { ini = ini } -- comes and goes while nobody looks
    unseen:stop()
    assert.equal(unseen.pid, serve.get(web, "/debug.json").masters[1].pid)

    local first = start { ini = ini }
    assert.same({ first.pid, true }, { serve.get(web, "/debug.json").masters[1].pid, serve.get(web, "/debug.json").masters[1].alive })
    local workers = first:children()
    first:signal "KILL"
    first:wait()
    local object = support.eventually("the last one is shown", function()
      local got = serve.get(web, "/debug.json")
      return not got.masters[1].alive and got
    end)
    assert.equal(first.pid, object.masters[1].pid)
    assert.same(workers, support.pids_of(object, "ApplicationPostFork"))
    assert.is_false(serve.get(web, "/instances.json").instances[1].alive)

    local second = start { ini = ini }
    assert.same({ second.pid, true }, { serve.get(web, "/debug.json").masters[1].pid, serve.get(web, "/debug.json").masters[1].alive })
  end)

  it("takes a pid for its instance, and stays with that when the master is another one", function()
    local ini = prefork.application()
    local first = start { ini = ini }
    local web = serve.start { tostring(first:children()[1]) }
    assert.equal(first.pid, serve.get(web, "/debug.json").masters[1].pid)
    first:stop()
    local second = start { ini = ini }
    assert.equal(second.pid, serve.get(web, "/debug.json").masters[1].pid)
  end)

  it("serves on a UNIX socket, whatever the Host", function()
    local server = start()
    local path = support.tmpdir() .. "/forksafe.sock"
    local web = serve.start { server.ini, listen = "unix:" .. path }
    assert.equal("unix:" .. path, web.url)
    assert.equal("660", ("%o"):format(stat.stat(path).st_mode % 512))
    for _, host in ipairs { "forksafe", "evil.example.org" } do
      assert.equal(200, (serve.request(web, "GET", "/healthz", { Host = host })))
    end
    assert.equal("hello", serve.listen(web):wait_for("hello", "hello").event)

    local other = support.run { support.paths.command, "serve", "--listen", "unix:" .. path, server.ini }
    assert.same({ 1, "" }, { other.code, other.stdout })
    assert.matches("in use", other.stderr, 1, true)
    assert.equal("ok\n", serve.get(web, "/healthz"))
    web:signal "KILL"
    web:wait()
    assert.is_not_nil(stat.stat(path)) -- left behind: the next one takes its place
    local next_one = serve.start { server.ini, listen = "unix:" .. path }
    assert.equal("ok\n", serve.get(next_one, "/healthz"))
    assert.is_true(next_one:stop())
    assert.is_nil(stat.stat(path))
  end)

  it("says in one line why it cannot start", function()
    local server = start()
    local web = serve.start { server.ini }
    local file = support.write(support.tmpdir() .. "/file", "mine")
    for _, case in ipairs {
      { 3, "no such instance: 'nobody'", "nobody" },
      { 2, "ADDRESS:PORT", "--listen", "9180", server.ini },
      { 2, "ADDRESS:PORT", "--listen", "127.0.0.1:99999", server.ini },
      { 2, "ADDRESS:PORT", "--listen", "::1:80", server.ini },
      { 2, "unix:PATH", "--listen", "unix:", server.ini },
      { 2, "unix:PATH", "--listen", "unix:/" .. ("x"):rep(200), server.ini },
      { 1, "choose another --listen", "--listen", "127.0.0.1:" .. web.port, server.ini },
      { 1, "in use", "--listen", "unix:" .. file, server.ini },
      { 2, "one TARGET at most", server.ini, server.ini },
    } do
      local result = support.run { support.paths.command, "serve", unpack(case, 3) }
      assert.same({ case[1], "" }, { result.code, result.stdout }, result.stderr)
      assert.matches(case[2], result.stderr, 1, true)
    end
    assert.equal("mine", support.read(file))
  end)

  it("still answers a scrape while 500 clients stall", function()
    local server = start()
    local web = serve.start { server.ini }
    local partial = { "", "GET /metr", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", "GET /debug.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\nx" }
    local connections = {}
    for i = 1, 500 do
      connections[i] = serve.connect(web)
      connections[i]:send(partial[i % #partial + 1])
    end
    assert.matches("forksafe_build_info", serve.get(web, "/metrics"), 1, true)
    local still_open = 0
    for _, connection in ipairs(connections) do
      connection:settimeout(0)
      local _, problem = connection:receive(1)
      still_open = still_open + (problem == "timeout" and 1 or 0)
    end
    assert.is_true(still_open >= 300, still_open .. " of those without an answer are open")
    assert.is_true(#support.fds(web.pid) > 300)
  end)
end)

describe("forksafe serve over a journal that is damaged", function()
  -- A copy of a real server's journal that nobody writes to.
  local function copy_of_journal()
    local server = start()
    local journal = support.debug(server.ini).masters[1].journal
    return support.write(support.tmpdir() .. "/copy.journal", support.read(journal))
  end

  local PATHS = { "/debug.json", "/debug.json?keys=1&records=3", "/instances.json", "/metrics" }

  it("answers 503 with a line, or what it knew, and lives on", function()
    local path = copy_of_journal()
    local text = support.read(path)
    local web = serve.start { path }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    local expected = undated(select(2, serve.request(web, "GET", "/debug.json")))

    for _, length in ipairs { #text - 1, 4000, 100, 0 } do
      support.write(path, text:sub(1, length)) -- the same file, shorter
      for _, each in ipairs(PATHS) do
        local status, line = serve.request(web, "GET", each)
        assert.equal(503, status)
        assert.matches(path, line, 1, true)
      end
    end
    assert.is_string(client:wait_for("trouble is told", function(message)
      return message.event == "trouble" and message.data.error ~= cjson.null
    end).data.error)
    support.write(path, text)
    client:wait_for("its end too", function(message)
      return message.event == "trouble" and message.data.error == cjson.null
    end)
    assert.equal(expected, undated(select(2, serve.request(web, "GET", "/debug.json"))))

    os.remove(path) -- what was open can still be read
    assert.equal(expected, undated(select(2, serve.request(web, "GET", "/debug.json"))))
    assert.equal("ok\n", serve.get(web, "/healthz"))
  end)

  it("survives 300 hostile variants of it, with a client that listens", function()
    local path = copy_of_journal()
    local text = support.read(path)
    local web = serve.start { path }
    local client = serve.listen(web)
    client:wait_for("hello", "hello")
    local state, statuses = 12345, {}
    local function random(limit)
      state = (state * 1103515245 + 12345) % 2147483648
      return math.floor(state / 65536) % limit
    end
    local file = assert(io.open(path, "r+b"))
    for i = 1, 300 do
      -- The header's 328 bytes, the tables behind it, or anywhere; and every tenth time as it was.
      local reach = ({ 328, 8192, #text })[i % 3 + 1]
      for _ = 1, 1 + random(8) do
        file:seek("set", random(reach))
        file:write(string.char(random(256)):rep(1 + random(8)))
      end
      file:flush()
      local status = serve.request(web, "GET", PATHS[i % #PATHS + 1])
      statuses[status or "none"] = (statuses[status or "none"] or 0) + 1
      client:read()
      if client.ended then
        client = serve.listen(web)
      end
      if i % 10 == 0 then
        file:seek("set", 0)
        file:write(text)
        file:flush()
      end
    end
    file:close()
    assert.is_nil(statuses.none)
    assert.is_true((statuses[200] or 0) > 10 and (statuses[503] or 0) > 10, cjson.encode { statuses[200] or 0, statuses[503] or 0 })
    support.write(path, text)
    assert.equal("ok\n", serve.get(web, "/healthz"))
    assert.is_true(web:stop())
    assert.same({ "exited", 0 }, { web.how, web.code })
  end)
end)
