-- SPDX-License-Identifier: MIT
--
-- The debug object's first four keys in the states that pyramid_forksafe knows, beside what pyramid_forksafe itself recorded in them
-- (tests/data/pyramid_forksafe.json). Every hook it names is there; ours may have run more.
local cjson = require "cjson"
local scripts = require "support.scripts"
local support = require "support"

local recorded = cjson.decode(support.read(support.paths.data .. "/pyramid_forksafe.json")).states

local PLAIN_APP = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n"
local MARKING_APP = "import types\nfrom forksafe.containers.gunicorn import mark_configured\nmark_configured(types.SimpleNamespace())\n" .. PLAIN_APP

local function pair_set(list)
  local set = {}
  for _, pair in ipairs(list) do
    set[table.concat(pair, " ")] = true
  end
  return set
end

-- status, environment and log to the letter, unless `log` is what ours says instead.
local function assert_state(name, state, log)
  local expected = recorded[name]
  assert.equal(expected.status, state.status)
  assert.equal(expected.environment, state.environment)
  assert.same(log or expected["autoconfigure.log"], state["autoconfigure.log"])
  local ran = pair_set(state.executed_hooks)
  for pair in pairs(pair_set(expected.executed_hooks)) do
    assert.is_true(ran[pair], pair)
  end
  if #expected.executed_hooks == 0 then
    assert.same({}, state.executed_hooks)
  end
end

local function serve(argv, app, env)
  local ini, directory = scripts.application { ["postfork.lua"] = "return function() end" }
  support.write(directory .. "/app.py", app)
  local port = support.free_port()
  for i, argument in ipairs(argv) do
    argv[i] = argument:gsub("INI", ini):gsub("PORT", port)
  end
  argv.cwd, argv.env = directory, env
  support.spawn(argv)
  support.http_wait(port, "/", 15)
  return support.debug(ini)
end

local PLUGIN_DIR = support.paths.uwsgi_plugin:match "^(.*)/"
local function uwsgi(...)
  return { "uwsgi", "--plugins-dir", PLUGIN_DIR, "--plugin", "python3", "--plugin", "forksafe", "--forksafe", "INI", "--http-socket",
    "127.0.0.1:PORT", "--die-on-term", "--wsgi-file", "app.py", ... }
end

describe("the debug object says what pyramid_forksafe says", function()
  it("without a container", function()
    local result = scripts.test({}, "", { "--event", "postfork" })
    result.debug.executed_hooks = {} -- `forksafe test` fires by itself; pyramid_forksafe has nothing that does
    assert_state("no container", result.debug)
  end)

  it("under uWSGI", function()
    assert_state("uWSGI", serve(uwsgi("--master", "--processes", "2"), PLAIN_APP))
  end)

  it("under uWSGI without a master", function()
    assert_state("uWSGI without a master", serve(uwsgi(), PLAIN_APP))
  end)

  it("under gunicorn with mark_configured", function()
    local config = "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init\n"
    local directory = support.tmpdir()
    support.write(directory .. "/config.py", config)
    local state = serve({ "/usr/bin/gunicorn", "--config", directory .. "/config.py", "--workers", "2", "--bind", "127.0.0.1:PORT", "app" },
      MARKING_APP, { PYTHONPATH = support.paths.python, FORKSAFE_INI = "production.ini" })
    -- It looks for uWSGI there and says so; ours says what it found.
    assert_state("gunicorn, mark_configured", state, { "gunicorn available", "gunicorn hook configured", "gunicorn mark_configured" })
  end)
end)
