-- SPDX-License-Identifier: MIT
--
-- An application that was written for pyramid_forksafe, under Debian's gunicorn and uWSGI: with the names in its imports and in its ini changed
-- it is told of the same events, by itself and beside Lua subscribers, with the library and without.
local cjson = require "cjson"
local pyramid = require "support.pyramid"
local support = require "support"

local recorded = cjson.decode(support.read(support.paths.data .. "/pyramid_forksafe.json")).states

local GUNICORN_HOOKS = {
  { "containers.gunicorn.post_fork", "ApplicationPostFork" },
  { "containers.gunicorn.post_worker_init", "ApplicationPostWorkerInit" },
  { "containers.gunicorn.pre_fork", "ApplicationPreFork" },
}

-- What one process was told: "PreFork PostFork" of this process's own, and how often it was told in the master, which it inherited.
local function own(answer)
  local names, inherited = {}, 0
  for _, entry in ipairs(answer.told) do
    local name, pid, colour = unpack(entry)
    assert.equal("green", colour)
    if pid == answer.pid then
      table.insert(names, (name:gsub("^Application", "")))
    else
      assert.equal("ApplicationPreFork", name)
      inherited = inherited + 1
    end
  end
  return table.concat(names, " "), inherited
end

-- The four keys of each answer are those that pyramid_forksafe has in this state.
local function assert_state(name, answers, changes)
  for _, answer in pairs(answers) do
    for key, value in pairs(recorded[name]) do
      assert.same(changes and changes[key] or value, answer[key], key)
    end
  end
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

describe("an application written for pyramid_forksafe, under gunicorn", function()
  it("is told of PostFork and PostWorkerInit in each worker, and is not loaded in the master", function()
    local server = pyramid.start { server = "gunicorn" }
    for pid, answer in pairs(pyramid.answers(server)) do
      assert.equal("PostFork PostWorkerInit", (own(answer)))
      assert.equal(1, count(server:stdout(), "loaded in " .. pid .. "\n"))
    end
    assert.equal(0, count(server:stdout(), "loaded in " .. server.pid .. "\n"))
    assert.equal(1, count(server:stderr(), "%[WARNING%] forksafe: the application subscribes to ApplicationPreFork, [^\n]*%-%-preload"))
  end)

  it("is told of PreFork in the master too with --preload", function()
    local server = pyramid.start { server = "gunicorn", arguments = { "--preload" } }
    local all = {}
    for _, answer in pairs(pyramid.answers(server)) do
      local names, inherited = own(answer)
      assert.equal("PostFork PostWorkerInit", names)
      table.insert(all, inherited)
    end
    table.sort(all)
    assert.same({ 1, 2, 3 }, all)
    assert.equal(0, count(server:stderr(), "subscribes to ApplicationPreFork"))
  end)

  it("is told beside the Lua subscribers, and they are in one debug object", function()
    local server = pyramid.start { server = "gunicorn", hooks = { ["postfork.lua"] = "return function() forksafe.log.info 'the Lua hook' end" } }
    local answers = pyramid.answers(server)
    local object = support.debug(server.ini)
    assert.same(server:children(), support.pids_of(object, "ApplicationPostFork"))
    assert.equal(3, count(server:stderr(), "the Lua hook\n"))
    for _, answer in pairs(answers) do
      assert.equal("PostFork PostWorkerInit", (own(answer)))
      assert.equal("gunicorn hook configured", answer.status)
      assert.same(GUNICORN_HOOKS, answer.executed_hooks)
    end
  end)

  it("has a debug object of all processes without any script", function()
    local server = pyramid.start { server = "gunicorn", keys = "marks = yes\n" }
    assert_state("gunicorn, mark_configured", pyramid.answers(server), {
      ["autoconfigure.log"] = { "gunicorn available", "gunicorn hook configured", "gunicorn mark_configured" },
    })
    assert.same(server:children(), support.pids_of(support.debug(server.ini), "ApplicationPostFork"))
  end)

  it("is told, and has pyramid_forksafe's debug object, where there is no library", function()
    local package = support.without_line(support.paths.python, "_build%.LIBRARY, os%.RTLD_NOW")
    local server = pyramid.start { server = "gunicorn", keys = "marks = yes\n", arguments = { "--preload" }, package = package }
    local answers = pyramid.answers(server)
    assert_state("gunicorn, mark_configured", answers)
    for _, answer in pairs(answers) do
      assert.equal("PostFork PostWorkerInit", (own(answer)))
    end
  end)

  it("is found behind middleware", function()
    local server = pyramid.start { server = "gunicorn", arguments = { "--preload", "--paste", "DIR/production.ini#wrapped" },
      keys = "[composite:wrapped]\nuse = call:wrapping:main\napp = main\n", hooks = {} }
    support.write(server.directory .. "/wrapping.py", [[
def main(loader, global_conf, app):
    inner = loader.get_app(app, global_conf=global_conf)
    return lambda environ, start_response: inner(environ, start_response)
]])
    for _, answer in pairs(pyramid.answers(server)) do
      assert.equal("PostFork PostWorkerInit", (own(answer)))
    end
  end)

  it("is told nothing where forksafe is switched off", function()
    for _, t in ipairs { { env = { FORKSAFE = "off" } }, { keys = "forksafe.enabled = false\n" } } do
      t.server, t.arguments = "gunicorn", { "--preload" }
      for _, answer in pairs(pyramid.answers(pyramid.start(t))) do
        assert.same({ "", 0 }, { own(answer) })
      end
    end
  end)

  for event, code in pairs { PreFork = 255, PostFork = 3, PostWorkerInit = 3 } do
    it("stops the server, as gunicorn does with any hook, where it fails at " .. event, function()
      local server = pyramid.start { server = "gunicorn", workers = 1, arguments = { "--preload" }, env = { FAILS_AT = "Application" .. event } }
      assert.same({ "exited", code }, { server:wait(15) })
      assert.truthy(server:stderr():find "RuntimeError: this hook fails")
    end)
  end
end)

describe("an application written for pyramid_forksafe, under uWSGI", function()
  local WITH_PLUGIN = { "--master", "--plugin", "forksafe" }

  for _, includes in ipairs { "pyramid_forksafe", "pyramid_forksafe.containers.uwsgi", "pyramid_forksafe pyramid_forksafe.containers.uwsgi" } do
    it("is told of PostFork once in each worker, including " .. includes, function()
      local server = pyramid.start { server = "uwsgi", arguments = { "--master" }, includes = includes,
        change = function(text)
          return (pyramid.migrated(text):gsub(" pyramid_forksafe", " forksafe"))
        end }
      local answers = pyramid.answers(server)
      for _, answer in pairs(answers) do
        assert.equal("PostFork", (own(answer)))
      end
      assert_state("uWSGI", answers)
    end)
  end

  it("is told beside the Lua subscribers, with the debug object of all workers", function()
    local server = pyramid.start { server = "uwsgi", arguments = WITH_PLUGIN, hooks = { ["postfork.lua"] = "return function() end" } }
    local answers = pyramid.answers(server)
    local object = support.debug(server.ini)
    assert.same(server:children(), support.pids_of(object, "ApplicationPostFork"))
    for _, answer in pairs(answers) do
      assert.equal("PostFork", (own(answer)))
      assert.equal("uWSGI hook configured", answer.status)
      assert.equal(object.executed_hooks[1][1], "containers.uwsgi.master_fixup")
      assert.equal(#object.executed_hooks, #answer.executed_hooks)
    end
  end)

  it("is told of PostFork once in each worker with --lazy-apps", function()
    local server = pyramid.start { server = "uwsgi", arguments = { "--master", "--lazy-apps" } }
    for _, answer in pairs(pyramid.answers(server)) do
      assert.equal("PostFork", (own(answer)))
    end
  end)

  it("is told where uwsgidecorators is not installed, and keeps its own hook", function()
    local stranger = support.tmpdir()
    support.write(stranger .. "/uwsgidecorators.py", "raise ImportError('not here')\n")
    support.write(stranger .. "/own.py", "import uwsgi\nuwsgi.post_fork_hook = lambda: print('its own hook', flush=True)\n")
    local server = pyramid.start { server = "uwsgi", arguments = { "--master", "--shared-import", stranger .. "/own.py" },
      package = stranger .. ":" .. support.paths.python }
    local answers = pyramid.answers(server)
    assert_state("uWSGI", answers)
    for _, answer in pairs(answers) do
      assert.equal("PostFork", (own(answer)))
    end
    assert.equal(3, count(server:output(), "its own hook"))
  end)

  it("is told nothing without a master, and the debug object says why", function()
    local answers = pyramid.answers(pyramid.start { server = "uwsgi", workers = 1 }, 1)
    assert_state("uWSGI without a master", answers)
    for _, answer in pairs(answers) do
      assert.same({}, answer.told)
    end
  end)
end)

describe("an application written for pyramid_forksafe, under no container", function()
  it("has pyramid_forksafe's debug object", function()
    assert_state("no container", pyramid.answers(pyramid.start {}, 1))
  end)
end)

describe("forksafe.events", function()
  it("has a class and an interface for each event of the library", function()
    support.must_run { "/usr/bin/python3", "-c", [[
from forksafe import _library, events, interfaces
assert len(_library.EVENT_NAMES) == 8
for name in _library.EVENT_NAMES.values():
    event = getattr(events, name)("a registry")
    assert event.registry == "a registry"
    assert getattr(interfaces, "I" + name).providedBy(event), name
]], env = { PYTHONPATH = support.paths.python } }
  end)
end)
