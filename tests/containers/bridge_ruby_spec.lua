-- SPDX-License-Identifier: MIT
--
-- forksafe.ruby in processes that have a Ruby: a small host that calls in as the Ruby adapters do, and Puma.
local bridge = require "support.bridge"
local servers = require "support.server"
local support = require "support"

-- A PostFork hook that says `body`'s values with say(...).
local function hook(body)
  return { ["postfork.lua"] = "local ruby = forksafe.ruby\n"
    .. "local function say(...)\n  local t = { ... }\n  for i = 1, select('#', ...) do t[i] = tostring(t[i]) end\n"
    .. "  forksafe.log.info('%s', table.concat(t, ' '))\nend\nreturn function(event)\n" .. body .. "\nend" }
end

local function said(body, options)
  local result = bridge.in_ruby(hook(body), options)
  assert.equal(0, result.code, result.output)
  return result.said, result
end

describe("forksafe.ruby", function()
  it("hands strings, numbers, booleans, nil and flat tables over, and gets them back", function()
    local lines, result = said [[
      say(ruby.call("Shop.told", 1, 1.5, "x\255", nil, true, { 1, 2 }, { a = 1 }, { k = "v" }))
      say(ruby.call("Shop.told", "last", { a = 1 }, {}))
      say(ruby.call("Shop.told", event.registry.settings, {}))
      local kinds = ruby.call "Shop.many_kinds"
      say(kinds[1], kinds[2], kinds[3], kinds[4], kinds[5], kinds[6] == "\255\0", kinds[7], kinds[8])
      local t = ruby.call "Shop.mapping"
      say(t.a, t.b, t.c, t.d)
      say(ruby.call("Shop.same", "x\255\0y") == "x\255\0y", ruby.call("Shop.same", false), ruby.call("Shop.same", nil))
      say(ruby.eval "0.1", ruby.eval "2**53" == 2 ^ 53, ruby.eval "1 / 0.0", ruby.eval "nil")
      say(ruby.call("Shop.store.connect!", "db", { retries = 3 }))
      say(ruby.call "Shop.store.dsn")
    ]]
    assert.same({
      [=[[[1, 1.5, "x\xFF", nil, true, [1, 2], {"a"=>1}], {:k=>"v"}]]=],
      [=[[["last", {"a"=>1}], {}]]=],
      ([=[[[{"forksafe.scripts"=>"%s/hooks"}], {}]]=]):format(result.directory),
      "1 2.5 é true symbol true 1..2 1152921504606846976",
      "1 nil text [1, 2]",
      "true false nil",
      "0.1 true inf nil",
      "db, 3 retries",
      "db, 3 retries",
    }, lines)
  end)

  it("looks in what is loaded, and loads nothing", function()
    assert.same({ "nil not loaded", "nil not loaded", "nil not loaded" }, (said [[
      say(ruby.call "Nothing.here")
      say(ruby.call "Shop::Other.here")
      say(ruby.call "Shop::Nowhere.here")
    ]]))
  end)

  it("keeps names from one exec to the next eval", function()
    assert.same({ "42", "two" }, (said [[
      ruby.exec "twice = ->(n) { 2 * n }\nname = 'two'"
      say(ruby.eval "twice.(21)")
      say(ruby.eval " name ")
    ]]))
  end)

  it("makes exceptions Lua errors with Ruby's full message", function()
    local _, result = said [[
      say(pcall(ruby.call, "Shop.nothing"))
      say(pcall(ruby.call, "Shop"))
      say(pcall(ruby.eval, "1 +"))
      say(pcall(ruby.exec, "throw :tag"))
      say(select(2, pcall(ruby.exec, "\n1 / 0")))
      say(ruby.eval "'still here'")
      ruby.call "Shop.fail_now"
    ]]
    local log = result.stdout
    for _, text in ipairs {
      "false [^\n]*postfork.lua:%d+: ruby: [^\n]*undefined method `nothing' for Shop:Module %(NoMethodError%)\n",
      "a target is 'Constant.method', this is \"Shop\" %(ArgumentError%)\n",
      "syntax error, unexpected end%-of%-input %(SyntaxError%)\n",
      "uncaught throw :tag %(UncaughtThrowError%)\n",
      "postfork.lua:12: ruby: [^\n]*postfork.lua:13:in `/': divided by 0 %(ZeroDivisionError%)\n",
      "still here\n",
      "subscriber 'postfork' failed: [^\n]*postfork.lua:14: ruby: [^\n]*shop.rb:%d+:in `fail_now': no such shop %(ArgumentError%)\n",
    } do
      assert.truthy(log:find(text), text .. "\nis not in\n" .. log)
    end
    assert.falsy(log:find("from <forksafe>", 1, true))
  end)

  it("carries ten megabytes each way, across collections of garbage", function()
    assert.same({ "10000000 true" }, (said([[
      local text = ("0123456789"):rep(1000000)
      ruby.call "Shop.collect"
      local back = ruby.call("Shop.same", text)
      for _ = 1, 20 do
        ruby.call "Shop.collect"
      end
      say(#back, back == text)
    ]], { keys = "forksafe.memory_limit = 64M\n" })))
  end)

  it("is not stopped by the time limit, which holds for the Lua around it", function()
    local lines, result = said([[
      say(ruby.exec "sleep 0.3")
      while true do end
    ]], { keys = "forksafe.time_limit = 100ms\n" })
    local took = lines[1]:match "postfork.lua:8: forksafe.ruby.exec took ([%d.]+) s, longer than forksafe.time_limit"
    assert.is_true(took and tonumber(took) >= 0.3, lines[1])
    assert.equal("nil", lines[2])
    assert.truthy(result.stdout:find("postfork.lua:9: stopped: it ran longer than forksafe.time_limit allows", 1, true))
  end)

  it("queues an event that a signal handler of the host emits during a call", function()
    local scripts = hook [[say(ruby.call "Shop.signal_us")
      say "end of PostFork"]]
    scripts["workerexit.lua"] = "return function(event) forksafe.log.info('exit of worker %s', event.worker) end"
    assert.same({ "after the handler", "end of PostFork", "exit of worker 7" }, bridge.in_ruby(scripts).said)
  end)

  it("leaves the host an exit that was asked for during a call", function()
    local result = bridge.in_ruby(hook [[
      say(select(2, pcall(ruby.exec, "exit 7")))
      say "the hook ends first"
    ]], { env = { PAUSE = "5" } })
    assert.truthy(result.said[1]:find "postfork.lua:8: ruby: [^\n]*: exit %(SystemExit%)", result.output)
    assert.equal("the hook ends first", result.said[#result.said])
    assert.equal(7, result.code)
  end)

  it("may fork", function()
    assert.same({ "5", "2" }, (said [[
      say(ruby.call "Shop.fork_once")
      say(ruby.eval "1 + 1")
    ]]))
  end)

  it("works beside threads of the application", function()
    assert.same({ "done" }, (said [[
      ruby.call("Shop.start_threads", 4)
      for i = 1, 200 do
        assert(ruby.call("Shop.same", i) == i)
        assert(not pcall(ruby.call, "Shop.fail_now"))
      end
      say "done"
    ]]))
  end)

  it("is refused where the host calls in without Ruby's lock", function()
    local lines = said([[say(pcall(ruby.eval, "1"))]], { env = { GVL = "no" } })
    assert.truthy(lines[1]:find("ruby: ruby is not in a sane state here: this thread does not hold its lock", 1, true), lines[1])
  end)

  it("is refused in the middle of a fork", function()
    local lines = said([[say(pcall(ruby.eval, "1"))]], { env = { ATFORK = "1" } })
    assert.truthy(lines[1]:find("ruby: ruby is not in a sane state here: in the middle of a fork", 1, true), lines[1])
  end)

  it("says under another server that there is no Ruby", function()
    assert.same({ "nil no ruby here" }, bridge.in_python(hook [[say(ruby.eval "1")]]).said)
  end)
end)

describe("forksafe.ruby under Puma", function()
  for _, preload in ipairs { true, false } do
    it((preload and "with" or "without") .. " preload_app! calls into the application of every worker, once it is loaded", function()
      local directory, port = servers.application { ["connect.lua"] = [[
for _, name in ipairs { "PostFork", "PostWorkerInit" } do
  forksafe.subscribe("Application" .. name, function(event)
    local value, why = forksafe.ruby.call("Shop.store.connect!", "db" .. event.worker, { retries = 3 })
    forksafe.log.info("%s connects: %s.", name, value or why)
  end, { name = name })
end]] }, support.free_port()
      support.write(directory .. "/production.ini", "[app:main]\nuse = egg:shop\nforksafe.scripts = %(here)s/hooks\n")
      support.write(directory .. "/puma.rb", ("plugin :forksafe\nforksafe_ini 'production.ini'\nrackup %q\nbind 'tcp://127.0.0.1:%d'\n"
        .. "threads 1, 2\nworkers 2\n%s\n"):format(bridge.data .. "/shop.ru", port, preload and "preload_app!" or ""))
      local server = support.spawn { "/usr/bin/puma", "-C", "puma.rb", env = { RUBYLIB = support.paths.ruby }, cwd = directory, stop_signal = "INT" }
      local found = {}
      support.eventually("two workers answer, connected", function()
        local _, body = support.http_get(port, "/")
        local pid, slot = body:match "^(%d+) db([12]), 3 retries$"
        found[slot or 0] = pid
        return found["1"] and found["2"] and found["1"] ~= found["2"], server:output()
      end, 20)
      assert.equal(2, servers.count(server:output(), "PostFork connects: " .. (preload and "db%d, 3 retries%." or "not loaded%.")))
      assert.equal(2, servers.count(server:output(), "PostWorkerInit connects: db%d, 3 retries%."))
    end)
  end
end)
