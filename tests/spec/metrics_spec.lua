-- SPDX-License-Identifier: MIT
--
-- The metrics: what promtool and a strict parser say of their text, what a real Prometheus answers after it scraped
-- `forksafe serve`, and the alert rules of examples/prometheus.
local cjson = require "cjson"
local signal = require "posix.signal"
local socket_url = require "socket.url"
local journal = require "support.journal"
local scripts = require "support.scripts"
local support = require "support"

local command = support.paths.command
local EXAMPLE = support.paths.root .. "/examples/prometheus"

-- In every generation the hook of worker 1 fails.
local FAILING = 'return function(event) if event.worker == 1 then error "no database" end end'

local function metrics(target, form)
  return support.must_run { command, "debug", "--metrics" .. (form and "=" .. form or ""), target }
end

local function check(text)
  local result = support.run { "promtool", "check", "metrics", stdin = text }
  assert.equal(0, result.code, result.output)
  assert.equal("", result.output)
end

-- Every sample's value by name and labels as they are printed: { ['forksafe_masters{...}'] = 1 }.
local function samples(text)
  local values = {}
  for line in text:gmatch "[^\n]+" do
    if line:sub(1, 1) ~= "#" then
      local name, value = line:match "^(.+) ([%d.]+)$"
      assert.truthy(name, line)
      assert.is_nil(values[name], "twice: " .. line)
      values[name] = tonumber(value)
    end
  end
  return values
end

-- The value of the one sample with that name whose labels have all of these texts.
local function sample(values, name, ...)
  local found
  for key, value in pairs(values) do
    local fits = key:match "^[^{]+" == name
    for _, label in ipairs { ... } do
      fits = fits and key:find(label, 1, true)
    end
    if fits then
      assert.is_nil(found, name .. " fits twice")
      found = value
    end
  end
  return found
end

-- A server whose workers are ready; `others`: how many the instance has already.
local function start(ini, workers, others)
  local server = support.spawn { command, "prefork", "--workers", tostring(workers), ini }
  support.eventually("its workers are ready", function()
    local result = support.run { command, "debug", "--metrics", tostring(server.pid) }
    return result.code == 0 and sample(samples(result.stdout), "forksafe_workers", 'state="ready"') == workers + (others or 0)
  end)
  return server
end

describe("forksafe debug --metrics", function()
  it("passes promtool check metrics, and tells what the debug object tells", function()
    local ini = scripts.application({ ["postfork.lua"] = FAILING }, "forksafe.records = 2\n")
    local server = start(ini, 3)
    local text, object = metrics(ini), support.debug(ini)
    check(text)
    local values, master, subscriber = samples(text), object.masters[1], object.subscribers[1]
    local instance = ('forksafe_instance="%s",server="prefork"'):format(object.instance)
    for kind, forks in pairs(master.forks) do
      assert.equal(forks, values[("forksafe_forks_total{%s,kind=%q}"):format(instance, kind)])
    end
    for _, hook in ipairs(object.hooks) do
      assert.equal(hook.runs, values[("forksafe_events_total{%s,event=%q}"):format(instance, hook.event)])
    end
    local of = instance .. ',event="ApplicationPostFork",subscriber="postfork"'
    for outcome, runs in pairs(subscriber.outcomes) do
      assert.equal(runs, values[("forksafe_hook_runs_total{%s,outcome=%q}"):format(of, outcome)])
    end
    assert.same({ 2, 1, 3 }, { subscriber.outcomes.ok, subscriber.outcomes.error, values["forksafe_hook_duration_seconds_count{" .. of .. "}"] })
    assert.is_true(math.abs(subscriber.total - values["forksafe_hook_duration_seconds_sum{" .. of .. "}"]) < 1e-8)
    assert.equal(3, values["forksafe_hook_duration_seconds_bucket{" .. of .. ',le="+Inf"}'])
    assert.equal(0, values["forksafe_hook_runs_unfinished{" .. of .. "}"])
    assert.equal(2, master.records_overwritten) -- of the master's MasterReady and three PreForks
    assert.equal(2, values["forksafe_records_dropped_total{" .. instance .. "}"])
    assert.equal(1, values["forksafe_masters{" .. instance .. "}"])
    local age = os.time() - values["forksafe_last_fork_timestamp_seconds{" .. instance .. "}"]
    assert.is_true(age > -2 and age < 60, tostring(age))
    assert.is_nil(text:find(tostring(server.pid), 1, true))
    assert.is_nil(text:find("no database", 1, true))
  end)

  it("has the same series as OpenMetrics, which a strict parser takes", function()
    local ini = scripts.application { ["postfork.lua"] = FAILING, ["childexit.lua"] = "return function() end" }
    local server = start(ini, 2)
    server:stop()
    local text, open = {}, {}
    for form, into in pairs { prometheus = text, openmetrics = open } do
      into.text = support.must_run { command, "debug", "--previous", "--metrics=" .. form, ini }
    end
    support.must_run { "/usr/bin/python3", "-c",
      "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as families\n"
      .. "assert len(list(families(sys.stdin.read()))) > 10", stdin = open.text }
    assert.equal("\n# EOF\n", open.text:sub(-7))
    assert.truthy(open.text:find("\n# UNIT forksafe_hook_duration_seconds seconds\n", 1, true))
    assert.truthy(open.text:find("\n# TYPE forksafe_forks counter\n", 1, true))
    assert.truthy(open.text:find("# TYPE forksafe_build info\n", 1, true))
    assert.truthy(text.text:find("# TYPE forksafe_build_info gauge\n", 1, true))
    assert.same(samples(text.text), samples(open.text))
    assert.equal(0, sample(samples(text.text), "forksafe_masters"))
    assert.equal(2, sample(samples(text.text), "forksafe_worker_exits_total", 'reason="clean"'))
  end)

  it("escapes the name of a subscriber, whatever is in it", function()
    local ini = scripts.application { ["odd.lua"] = [[
forksafe.subscribe("ApplicationPostFork", function() end, { name = 'a"b\\c\nd\27[31m<b>\255\194\155\226\128\174é' })
forksafe.subscribe("ApplicationPostFork", function() end, { name = "a\27" })
forksafe.subscribe("ApplicationPostFork", function() end, { name = "a\\u001b" }) -- looks like the one above: one series
]] }
    start(ini, 1)
    local text = metrics(ini)
    check(text)
    assert.truthy(text:find([[subscriber="a\"b\\c\nd\\u001b[31m<b>]] .. "\239\191\189" .. [[\\u009b\\u202eé"]], 1, true), text)
    assert.is_nil(text:find "[%z\1-\9\11-\31\127]")
    assert.equal(0, support.run({ "/usr/bin/python3", "-c",
      "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as families\n"
      .. "list(families(sys.stdin.read()))", stdin = metrics(ini, "openmetrics") }).code)
    assert.equal(2, sample(samples(text), "forksafe_hook_runs_total", [[subscriber="a\\u001b"]], 'outcome="ok"'))
  end)

  it("adds the masters of an instance up, and tells instances apart", function()
    local ini = scripts.application({ ["postfork.lua"] = FAILING }, "forksafe.instance = shop\n")
    local other = scripts.application({ ["postfork.lua"] = FAILING }, "forksafe.instance = desk\n")
    start(ini, 2)
    local second = start(ini, 3, 2)
    start(other, 1)
    local text = support.must_run { "unshare", "--mount", "sh", "-c", 'mount -t tmpfs x /run && mount -t tmpfs x /dev/shm && exec "$@"',
      "sh", command, "debug", "--metrics" }
    check(text)
    local values = samples(text)
    assert.same({ 2, 5, 5, 1, 1, 1 }, {
      sample(values, "forksafe_masters", 'forksafe_instance="shop"'),
      sample(values, "forksafe_forks_total", 'forksafe_instance="shop"', 'kind="worker"'),
      sample(values, "forksafe_workers", 'forksafe_instance="shop"', 'state="ready"'),
      sample(values, "forksafe_masters", 'forksafe_instance="desk"'),
      sample(values, "forksafe_forks_total", 'forksafe_instance="desk"', 'kind="worker"'),
      sample(values, "forksafe_hook_runs_total", 'forksafe_instance="desk"', 'outcome="error"'),
    })
    second:stop()
    assert.equal(2, sample(samples(metrics(ini)), "forksafe_forks_total", 'kind="worker"'))
  end)

  it("counts what was begun and not ended, and processes that found no slot", function()
    local filled = journal.open { max_workers = 2, records = 2 }
    filled:hook "containers.test.post_fork"
    local hook = filled:subscriber "hook"
    filled:claim { role = journal.MASTER }
    journal.kill(journal.stay(function()
      filled:claim { role = journal.WORKER, forked = 1 }
      filled:begin(hook)
    end))
    local stays = journal.stay(function()
      filled:claim { role = journal.WORKER, forked = 1 }
      for _ = 1, 5 do
        filled:run(hook)
      end
    end)
    journal.done(function()
      filled:claim { role = journal.WORKER, forked = 1 }
      filled:run(hook)
    end)
    local values = samples(metrics(filled:path()))
    assert.same({ 1, 6, 3, 1, 4, 1 }, {
      sample(values, "forksafe_hook_runs_unfinished"),
      sample(values, "forksafe_hook_runs_total", 'outcome="ok"'),
      sample(values, "forksafe_forks_total", 'kind="worker"'),
      sample(values, "forksafe_slots_refused_total"),
      sample(values, "forksafe_records_dropped_total"), -- six of that slot, of two processes, in a ring of two
      sample(values, "forksafe_workers", 'state="starting"'),
    })
    journal.kill(stays)
    assert.equal(1, sample(samples(metrics(filled:path())), "forksafe_workers", 'state="dead"')) -- nobody has told its master
    filled:child_exit(stays, -1, 9)
    values = samples(metrics(filled:path()))
    assert.same({ 0, 1 }, { sample(values, "forksafe_workers", 'state="dead"'), sample(values, "forksafe_worker_exits_total", 'reason="signal"') })
  end)

  it("refuses an unknown form, and has the idiom of the textfile in its help", function()
    local result = support.run { command, "debug", "--metrics=xml" }
    assert.equal(2, result.code)
    assert.truthy(result.stderr:find("--metrics is prometheus or openmetrics, not 'xml'", 1, true))
    assert.equal(2, support.run({ command, "debug", "--metrics", "--compact" }).code)
    local directory = support.tmpdir()
    local help = support.must_run { command, "debug", "--help" }
    local idiom = assert(help:match "\n +(forksafe debug %-%-metrics >[^\n]+)\n")
    local ini = scripts.application { ["postfork.lua"] = FAILING }
    local server = start(ini, 1)
    local function collect()
      return support.run { "sh", "-c", 'forksafe() { "$FORKSAFE_COMMAND" "$@" ' .. ini .. "; }\nf=forksafe.prom\n" .. idiom,
        cwd = directory, env = { FORKSAFE_COMMAND = command } }
    end
    collect()
    local text = support.read(directory .. "/forksafe.prom")
    check(text)
    server:stop()
    assert.matches("no master lives", collect().stderr)
    assert.equal(text, support.read(directory .. "/forksafe.prom"))
    assert.same({ directory .. "/forksafe.prom" }, support.all_files(directory))
  end)
end)

describe("a real Prometheus that scrapes forksafe serve", function()
  -- forksafe serve over the ini, and Prometheus over that. Returns a function for instant queries: a list of { metric =, value = }.
  local function watch(ini)
    local directory, port, web = support.tmpdir(), support.free_port(), support.free_port()
    support.spawn { command, "serve", "--listen", "127.0.0.1:" .. port, ini }
    support.http_wait(port, "/metrics")
    local config = support.write(directory .. "/prometheus.yml", ([[
global: { scrape_interval: 250ms, scrape_timeout: 250ms }
scrape_configs:
  - job_name: forksafe
    static_configs: [{ targets: ["127.0.0.1:%d"] }]
]]):format(port))
    support.spawn { "prometheus", "--config.file=" .. config, "--storage.tsdb.path=" .. directory .. "/data", "--log.level=warn",
      "--web.listen-address=127.0.0.1:" .. web, stop_seconds = 20 }
    support.http_wait(web, "/-/ready", 30)
    return function(query)
      local status, body = support.http_get(web, "/api/v1/query?query=" .. socket_url.escape(query))
      assert.equal(200, status, body)
      local list = {}
      for _, item in ipairs(cjson.decode(body).data.result) do
        table.insert(list, { metric = item.metric, value = tonumber(item.value[2]) })
      end
      return list
    end
  end

  -- Waits until these queries have these answers, one sample each.
  local function expect(query, expected)
    for text, value in pairs(expected) do
      support.eventually(text .. " is " .. value, function()
        local answer = query(text)
        return #answer == 1 and answer[1].value == value, cjson.encode(answer)
      end, 15)
    end
  end

  local function numbers(forks, ok, failed, killed, left)
    return {
      ['forksafe_forks_total{kind="worker"}'] = forks,
      ['forksafe_events_total{event="ApplicationPostFork"}'] = forks,
      ['forksafe_hook_runs_total{event="ApplicationPostFork",subscriber="postfork",outcome="ok"}'] = ok,
      ['forksafe_hook_runs_total{event="ApplicationPostFork",subscriber="postfork",outcome="error"}'] = failed,
      ["sum(forksafe_hook_runs_total)"] = forks,
      ["forksafe_hook_duration_seconds_count"] = forks,
      ['forksafe_hook_duration_seconds_bucket{le="+Inf"}'] = forks,
      ['forksafe_worker_exits_total{reason="signal"}'] = killed,
      ['forksafe_worker_exits_total{reason="clean"}'] = left,
      ['forksafe_worker_exits_total{reason="failed"}'] = 0,
      ['forksafe_workers{state="ready"}'] = 3,
      ["forksafe_masters"] = 1,
      ["forksafe_hook_runs_unfinished"] = 0,
    }
  end

  it("answers 7 forks, 2 failed hooks and 1 SIGKILL, after rings were overwritten, and goes on counting at reloads", function()
    local ini = scripts.application({ ["postfork.lua"] = FAILING }, "forksafe.records = 2\n")
    local server = start(ini, 3)
    local query = watch(ini)
    expect(query, numbers(3, 2, 1, 0, 0))
    for _, process in ipairs(support.debug(ini).processes) do
      if process.worker == 2 then
        signal.kill(process.pid, signal.SIGKILL)
      end
    end
    expect(query, numbers(4, 3, 1, 1, 0))
    server:signal "HUP"
    expect(query, numbers(7, 5, 2, 1, 3))
    -- The master's ring of two has gone round: MasterReady, 7 PreForks, 4 ChildExits, 1 Reload. Each worker has run no more than three
    -- hooks, PostFork, PostWorkerInit and, those of the first generation that were not killed, WorkerExit.
    expect(query, { forksafe_records_dropped_total = 11 + 3 })
    local dropped = 0
    for _, master in ipairs(support.debug(ini).masters) do
      dropped = dropped + master.records_overwritten
    end
    assert.equal(14, dropped)
    server:signal "HUP"
    expect(query, numbers(10, 7, 3, 1, 6))

    expect(query, { ["min(up)"] = 1, ["min(min_over_time(up[10m]))"] = 1 })
    for _, series in ipairs(query 'count by (__name__) ({__name__=~"forksafe_.+(_total|_bucket|_sum|_count)"})') do
      local falls = query(("sum(resets(%s[10m]))"):format(series.metric.__name__))
      assert.same({ series.metric.__name__, 0 }, { series.metric.__name__, falls[1].value })
    end
    for _, series in ipairs(query '{__name__=~"forksafe_.+"}') do
      assert.truthy(series.metric.forksafe_instance or series.metric.__name__ == "forksafe_build_info")
      assert.truthy(series.metric.instance:find "^127%.0%.0%.1:") -- Prometheus's own
      assert.is_nil(series.metric.exported_instance)
      for _, label in pairs(series.metric) do
        assert.is_nil(label:find "no database")
      end
    end
  end)

  it("takes a new master for a reset", function()
    local ini = scripts.application { ["postfork.lua"] = FAILING }
    local first = start(ini, 3)
    local query = watch(ini)
    expect(query, { ['forksafe_forks_total{kind="worker"}'] = 3 })
    first:stop()
    expect(query, { forksafe_masters = 0, ['forksafe_forks_total{kind="worker"}'] = 3 })
    start(ini, 2)
    expect(query, {
      forksafe_masters = 1,
      ['forksafe_forks_total{kind="worker"}'] = 2,
      ['resets(forksafe_forks_total{kind="worker"}[10m])'] = 1,
    })
  end)
end)

describe("examples/prometheus", function()
  it("has a configuration and rules that promtool takes", function()
    for _, what in ipairs { { "config", "prometheus.yml" }, { "rules", "forksafe.rules.yml" } } do
      local result = support.run { "promtool", "check", what[1], EXAMPLE .. "/" .. what[2] }
      assert.equal(0, result.code, result.output)
    end
  end)

  it("has rules that fire when they should, and each is missed without its threshold", function()
    local result = support.run { "promtool", "test", "rules", EXAMPLE .. "/forksafe.rules_test.yml", timeout = 60 }
    assert.equal(0, result.code, result.output)
    local rules, tests = support.read(EXAMPLE .. "/forksafe.rules.yml"), support.read(EXAMPLE .. "/forksafe.rules_test.yml")
    local count = 0
    for alert in rules:gmatch "alert: (%w+)" do
      count = count + 1
      local directory = support.tmpdir()
      local at = assert(rules:find("alert: " .. alert, 1, true))
      -- Never; and always where there is anything at all.
      for _, bound in ipairs { "> 1e9", "> -1" } do
        local changed, changes = rules:sub(at):gsub("([>=]=?) [%d.]+\n", bound .. "\n", 1)
        assert.equal(1, changes)
        support.write(directory .. "/forksafe.rules.yml", rules:sub(1, at - 1) .. changed)
        support.write(directory .. "/forksafe.rules_test.yml", tests)
        local broken = support.run { "promtool", "test", "rules", directory .. "/forksafe.rules_test.yml", timeout = 60 }
        assert.equal(1, broken.code, alert .. bound)
        assert.truthy(broken.output:find("alertname: ?" .. alert) or broken.output:find(alert, 1, true), broken.output)
      end
    end
    assert.equal(6, count)
  end)

  it("explains every metric that there is, and no other", function()
    local ini = scripts.application { ["postfork.lua"] = FAILING }
    start(ini, 1)
    local printed, explained = {}, {}
    for name in metrics(ini):gmatch "# TYPE (%S+)" do
      printed[name] = true
    end
    for name in support.read(EXAMPLE .. "/README.md"):gmatch "\n| `(forksafe_[%w_]+)`" do
      explained[name] = true
    end
    assert.same(printed, explained)
    for name in support.read(EXAMPLE .. "/forksafe.rules.yml"):gmatch "forksafe_[%w_]+" do
      assert.truthy(name == "forksafe_instance" or printed[name:gsub("_bucket$", "")], name)
    end
  end)
end)
