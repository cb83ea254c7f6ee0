-- SPDX-License-Identifier: MIT
--
-- The JSON Schema of the debug object, runtime/cli/schema/forksafe.debug-1.schema.json: what real servers, the commands and
-- a hook print passes it, and documents that are changed in one place do not.
local cjson = require "cjson"
local ffi = require "ffi"
local signal = require "posix.signal"
local journal = require "support.journal"
local prefork = require "containers.prefork_server"
local scripts = require "support.scripts"
local support = require "support"

local command = support.paths.command
local SCHEMA = support.paths.root .. "/runtime/cli/schema/forksafe.debug-1.schema.json"
local VALIDATE = support.paths.support .. "/validate.py"

-- Asserts that these texts pass the schema.
local function passes(...)
  local argv = { "/usr/bin/python3", VALIDATE, SCHEMA }
  for i, text in ipairs { ... } do
    table.insert(argv, support.write(support.tmpdir() .. "/" .. i .. ".json", text))
  end
  local result = support.run(argv)
  assert.equal(0, result.code, result.output)
end

local function debug_text(...)
  return support.must_run { command, "debug", ... }
end

local EVENTFUL = {
  ["a.postfork.lua"] = [[local file = assert(io.open(forksafe.env("LEAK"), "w"))
file:write("begun")
file:flush()
return function() return file end]],
  ["postworkerinit.lua"] = [[return function(event)
  if event.worker == 1 then error("cannot connect") end
  if event.worker == 2 then while true do end end
end]],
  ["childexit.lua"] = "return function() end",
  ["never.lua"] = 'forksafe.subscribe("ApplicationShutdown", function() end, { order = -3, on_error = "stop_server" })',
}

-- A server of which worker 1 failed, worker 2 is in the middle of its hook or, later, was killed there.
local function eventful()
  local ini, directory = prefork.application(EVENTFUL, { "time_limit = 60s", "records = 4", "lua_libs = full" })
  local server = prefork.start { ini = ini, workers = 3, env = { LEAK = directory .. "/report.txt" } }
  local function stuck()
    for _, record in ipairs(support.debug(server.pid).records) do
      if record.outcome == "running" and record.subscriber == "postworkerinit" then
        return record.pid
      end
    end
  end
  return server, support.eventually("worker 2 in the middle of its hook", stuck), stuck
end

-- The document that is changed below: it has one of everything.
local function document()
  local server, pid, stuck = eventful()
  signal.kill(pid, signal.SIGKILL)
  support.eventually("its successor in the same hook", stuck)
  return debug_text(tostring(server.pid)), server
end

describe("the schema of the debug object", function()
  it("passes what forksafe prefork records: failed, running, killed, reloaded, stopped", function()
    local server, pid, stuck = eventful()
    local running = debug_text(server.ini)
    assert.truthy(running:find('"outcome": "running"', 1, true))
    signal.kill(pid, signal.SIGKILL)
    support.eventually("its successor in the same hook", stuck)
    local killed = debug_text("--compact", server.ini)
    assert.truthy(killed:find('"outcome":"unfinished"', 1, true))
    assert.truthy(killed:find('"error":"[^"]+postworkerinit.lua:2: cannot connect'))
    assert.truthy(killed:find('"signal":9', 1, true))
    os.remove((server.ini:gsub("app.ini$", "hooks/never.lua")))
    server:signal "HUP"
    support.eventually("the second generation", function()
      return support.debug(server.ini).masters[1].generation == 2
    end)
    local reloaded = debug_text(server.ini)
    assert.truthy(reloaded:find('"active": false', 1, true))
    for _, process in ipairs(support.debug(server.ini).processes) do
      signal.kill(process.pid, signal.SIGKILL)
    end
    server:wait()
    local dead = debug_text("--previous", server.ini)
    assert.truthy(dead:find('"state": "dead"', 1, true))
    passes(running, killed, reloaded, dead)
  end)

  it("passes what forksafe serve prints, with its keys", function()
    local server = prefork.start { workers = 2 }
    prefork.assert_started(server)
    local port = support.free_port()
    support.spawn { command, "serve", "--listen", "127.0.0.1:" .. port, server.ini }
    passes((support.http_wait(port, "/debug.json")))
  end)

  it("passes what uWSGI and gunicorn record", function()
    local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
    support.write(directory .. "/app.py",
      "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n")
    support.write(directory .. "/config.py", "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n")
    local port, plugins = support.free_port(), support.paths.uwsgi_plugin:match "^(.*)/"
    local uwsgi = support.spawn { "uwsgi", "--plugins-dir", plugins, "--plugin", "python3", "--plugin", "forksafe", "--forksafe", ini,
      "--http-socket", "127.0.0.1:" .. port, "--die-on-term", "--wsgi-file", "app.py", "--master", "--processes", "2", cwd = directory }
    support.http_wait(port, "/", 15)
    local first = debug_text(ini)
    uwsgi:stop()
    port = support.free_port()
    support.spawn { "/usr/bin/gunicorn", "--config", "config.py", "--workers", "2", "--bind", "127.0.0.1:" .. port, "app",
      cwd = directory, env = { PYTHONPATH = support.paths.python, FORKSAFE_INI = ini } }
    support.http_wait(port, "/", 15)
    local second = debug_text(ini)
    assert.truthy(first:find('"container": "uwsgi"', 1, true))
    assert.truthy(second:find('"container": "gunicorn"', 1, true))
    passes(first, second, debug_text("--previous", ini))
  end)

  it("passes what a hook sees of its own process", function()
    local path = support.tmpdir() .. "/seen.json"
    local ini = prefork.application({ ["postworkerinit.lua"] = ([[return function()
  local file = assert(io.open(%q, "w"))
  file:write(forksafe.debug_json())
  file:close()
end]]):format(path) }, { "lua_libs = full" })
    prefork.wait_said(prefork.start { ini = ini, workers = 1 }, "PostWorkerInit")
    local text = support.read(path)
    assert.truthy(text:find('"stale": ?null'))
    passes(text)
  end)

  it("passes where there is nothing: no server, one that is switched off, an empty journal, one in memory", function()
    local text = journal.C.fks_debug_text(nil, 0, nil, 2, nil)
    local nothing = ffi.string(text)
    ffi.C.free(text)
    assert.truthy(nothing:find('"instance": null', 1, true))
    local off = prefork.start { keys = { "enabled = false" }, workers = 1 }
    support.eventually("the journal that says so", function()
      return support.run({ command, "debug", off.ini }).code == 0
    end)
    local disabled = debug_text(off.ini)
    assert.truthy(disabled:find('"enabled": false', 1, true))
    local empty = journal.open()
    local here = ffi.new "void *[1]"
    local header, size = journal.C.fks_journal_header(empty.handle), journal.C.fks_journal_size(empty.handle)
    assert.equal(0, journal.C.fks_reader_over(here, header, size, nil, nil))
    local memory_text = journal.C.fks_debug_text(here, 1, nil, 0, nil)
    local in_memory = ffi.string(memory_text)
    ffi.C.free(memory_text)
    journal.C.fks_reader_close(here[0])
    assert.truthy(in_memory:find('"journal":null', 1, true))
    passes(nothing, disabled, assert(journal.read_text(empty:path())), in_memory)
  end)

  it("refuses a document that is changed in one place, for that place", function()
    local text = document()
    local object = cjson.decode(text)
    local function at(list, fits)
      for index, item in ipairs(object[list]) do
        if fits(item) then
          return list .. "/" .. index - 1
        end
      end
      support.fail("nothing of that kind in " .. list)
    end
    local ended = at("records", function(record) return record.outcome == "ok" end)
    local unfinished = at("records", function(record) return record.outcome == "unfinished" end)
    local exit = at("records", function(record) return record.child ~= cjson.null end)
    local forked = at("records", function(record) return record.event == "ApplicationPostFork" end)
    local null = cjson.null
    local cases = { -- what is changed, and the one fault: PLACE:KEYWORD
      { { at = "schema", value = "forksafe.debug/2" }, "schema:const" },
      { { drop = "findings" }, ".:required" },
      { { at = "settings", value = "hunter2" }, ".:additionalProperties" },
      { { at = "generated_at", value = "2026-11-22 21:00:00" }, "generated_at:pattern" },
      { { at = "status", value = null }, "status:type" },
      { { at = "autoconfigure.log/0", value = 1 }, "autoconfigure.log/0:type" },
      { { at = "executed_hooks/0", value = { "containers.prefork.pre_fork" } }, "executed_hooks/0:minItems" },
      { { at = "executed_hooks/1", value = object.executed_hooks[1] }, "executed_hooks:uniqueItems" },
      { { at = "executed_hooks/0/1", value = "ApplicationPostSpoon" }, "executed_hooks/0/1:enum" },
      { { at = "enabled", value = "true" }, "enabled:type" },
      { { at = "findings/0", value = "a finding" }, "findings/0:type" },
      { { drop = "findings/0/fix" }, "findings/0:required" },
      { { at = "findings/0/kind", value = "shared-luck" }, "findings/0/kind:enum" },
      { { at = "findings/0/state", value = "fixed" }, "findings/0/state:enum" },
      { { at = "findings/0/descriptor", value = -1 }, "findings/0/descriptor:minimum" },
      { { at = "findings/0/password", value = "hunter2" }, "findings/0:additionalProperties" },
      { { at = "masters/0/pid", value = 0 }, "masters/0/pid:minimum" },
      { { at = "masters/0/forks/worker", value = 1.5 }, "masters/0/forks/worker:type" },
      { { drop = "masters/0/exits/signal" }, "masters/0/exits:required" },
      { { drop = "processes/0/error" }, "processes/0:required" },
      { { at = "processes/0/state", value = "bored" }, "processes/0/state:enum" },
      { { at = "processes/0/environ", value = "PASSWORD=1" }, "processes/0:additionalProperties" },
      { { at = "processes/0/since", value = 1795381639 }, "processes/0/since:type" },
      { { at = "hooks/0/runs", value = -1 }, "hooks/0/runs:minimum" },
      { { at = "subscribers/0/hash", value = "0xDEADBEEF" }, "subscribers/0/hash:pattern" },
      { { at = "subscribers/0/stale", value = "no" }, "subscribers/0/stale:type" },
      { { at = "subscribers/0/outcomes/exploded", value = 1 }, "subscribers/0/outcomes:additionalProperties" },
      { { drop = "subscribers/0/buckets/13" }, "subscribers/0/buckets:minItems" },
      { { at = "subscribers/0/buckets/0", value = { 0.1 } }, "subscribers/0/buckets/0:minItems" },
      { { at = "subscribers/0/buckets/0/0", value = 0 }, "subscribers/0/buckets/0/0:exclusiveMinimum" },
      { { at = ended .. "/outcome", value = "unfinished" }, ended .. "/duration:type" },
      { { at = unfinished .. "/duration", value = 0.5 }, unfinished .. "/duration:type" },
      { { at = ended .. "/at", value = "2026-11-22T21:00:00.123Z" }, ended .. "/at:pattern" },
      { { at = exit .. "/child/pid", value = "9" }, exit .. "/child:anyOf" },
      { { at = forked .. "/child", value = { pid = 9, exit = 0, signal = null } }, forked .. "/child:type" },
      { { at = forked .. "/key", value = "secret" }, forked .. "/key:pattern" },
    }
    local changes, expected = {}, {}
    for i, case in ipairs(cases) do
      changes[i], expected[i] = case[1], case[2]
    end
    local path = support.write(support.tmpdir() .. "/document.json", text)
    local answers = support.must_run { "/usr/bin/python3", VALIDATE, SCHEMA, path, "--mutations", stdin = cjson.encode(changes) }
    local got = {}
    for line in answers:gmatch "([^\n]*)\n" do
      table.insert(got, line)
    end
    assert.same(expected, got)
    assert.is_true(#got >= 20)
  end)

  it("is closed: every object in it says what it requires, and takes nothing else", function()
    local schema = cjson.decode(support.read(SCHEMA))
    local objects = 0
    local function walk(node)
      if node.type == "object" then
        objects = objects + 1
        assert.is_false(node.additionalProperties)
        local required = {}
        for _, name in ipairs(node.required) do
          required[name] = true
        end
        for name in pairs(node.properties) do
          assert.truthy(required[name] or name == "key", name .. " is not required")
        end
      end
      for _, child in pairs(node) do
        if type(child) == "table" then
          walk(child)
        end
      end
    end
    walk(schema)
    assert.equal(12, objects)
  end)

  it("is installed", function()
    local prefix = support.tmpdir()
    support.must_run { "cmake", "--install", support.paths.build .. "/runtime", "--prefix", prefix, timeout = 60 }
    local found
    for _, path in ipairs(support.all_files(prefix)) do
      found = path:match "/share/forksafe/forksafe%.debug%-1%.schema%.json$" and path or found
    end
    assert.equal(support.read(SCHEMA), support.read(found))
  end)
end)
