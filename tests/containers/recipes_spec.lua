-- SPDX-License-Identifier: MIT
--
-- Recipes on the real libraries, in a small host that forks two workers: which backend serves a connection, or which object it is, before
-- and after. Without the recipe each test's assertions fail, and that is run too.
local bridge = require "support.bridge"
local postgres = require "support.postgres"
local servers = require "support.server"
local support = require "support"

local count = servers.count
local RECIPES = support.paths.data .. "/recipes"

local function hooks(name)
  return { ["recipe.lua"] = name and ('require "forksafe.recipes.%s"\n'):format(name) or "" }
end

-- Runs the host with an application of tests/data/recipes and one recipe, or none.
local function run(name, application, options)
  options = options or {}
  local env = { SERVE_WORKERS = "2" }
  for variable, value in pairs(options.env or {}) do
    env[variable] = value
  end
  local in_host = application:find "%.rb$" and bridge.in_ruby or bridge.in_python
  local modules = application:find "%.rb$" and { RECIPES .. "/" .. application } or { application }
  local result = in_host(hooks(name), { modules = modules, env = env, path = RECIPES, timeout = 60 })
  assert.equal(options.code or 0, result.code, result.output)
  return result
end

-- What the application said after a word, one value a line.
local function said(result, word)
  local list = {}
  for value in result.stdout:gmatch("%f[^\n%z]" .. word .. " ([^\n]*)") do
    list[#list + 1] = value
  end
  return list
end

describe("the recipe", function()
  local connections = {
    { name = "sqlalchemy", application = "with_sqlalchemy", says = "1 engines with a pool of their own" },
    { name = "django", application = "with_django", says = "1 database connections let go of" },
    { name = "pg", application = "with_pg.rb", says = "1 connections reset" },
    { name = "pg", application = "with_pg.rb", says = "1 connections reset", tls = true },
    { name = "active_record", application = "with_active_record.rb", says = "1 connection pools discarded", env = { FORK = "raw" } },
  }

  for _, row in ipairs(connections) do
    -- Fails where a worker is served by the parent's backend, or the parent no longer by its own.
    local function assert_own_backends(name)
      local env = { DATABASE_URL = postgres.shared({ tls = row.tls }):url() }
      for variable, value in pairs(row.env or {}) do
        env[variable] = value
      end
      local result = run(name, row.application, { env = env })
      local before, workers, after = said(result, "before"), said(result, "worker"), said(result, "master")
      assert.equal(1, #before, result.output)
      for _, backend in ipairs(workers) do
        assert.are_not.equal(before[1], backend)
      end
      assert.is_true(#workers >= 1 and workers[1] ~= workers[2], result.output)
      assert.same(before, after)
      assert.equal(#workers, count(result.stdout, "recipe " .. name .. ": " .. row.says .. "\n"), result.stdout)
    end

    it(row.name .. " gives each worker a backend of its own and leaves the parent its" .. (row.tls and " over TLS" or ""), function()
      assert_own_backends(row.name)
      if row.name ~= "active_record" and not row.tls then -- which notices by itself, later
        support.fails(assert_own_backends)
      end
    end)
  end

  it("active_record finds nothing left to repair where Ruby forked", function()
    local result = run("active_record", "with_active_record.rb", { env = { DATABASE_URL = postgres.shared({}):url() } })
    assert.equal(1, count(result.stdout, "recipe active_record: nothing to repair %(none found%)\n"), result.stdout)
    assert.are_not.same(said(result, "before"), said(result, "worker"))
  end)

  it("sqlalchemy and django leave a database in memory its data", function()
    local result = bridge.in_python({ ["recipes.lua"] = 'require "forksafe.recipes.sqlalchemy"\nrequire "forksafe.recipes.django"\n' }, {
      modules = { "in_memory" }, files = { ["in_memory.py"] = [[
import sqlalchemy
from django.conf import settings
from django.db import connection

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
engine = sqlalchemy.create_engine("sqlite://")

def before_fork():
    engine.execute("create table kept (one integer)")
    connection.cursor().execute("create table kept (one integer)")

def in_worker():
    engine.execute("select * from kept")
    connection.cursor().execute("select * from kept")
    print("worker still has them", flush=True)
]] } })
    assert.same({ "still has them" }, said(result, "worker"), result.output)
    assert.equal(2, count(result.stdout, "nothing to repair %(none found%)\n"), result.stdout)
  end)

  it("pymongo gives each client a topology of its own", function()
    local result = run("pymongo", "with_pymongo")
    assert.same({ "new topology, 0 warnings", "new topology, 0 warnings" }, said(result, "worker"))
    assert.same({ "same topology" }, said(result, "master"))
    assert.equal(2, count(result.stdout, "recipe pymongo: 1 clients with connections of their own\n"))
    for _, line in ipairs(said(run(nil, "with_pymongo"), "worker")) do
      assert.truthy(line:find "^same topology, [1-9]", line)
    end
  end)

  it("random gives each generator numbers of its own", function()
    local result = run("random", "with_generators")
    local first, second = unpack(said(result, "worker"))
    local a, b = first:match "^(%S+) (%S+)"
    local c, d = second:match "^(%S+) (%S+)"
    assert.is_true(a ~= c and b ~= d, result.stdout)
    assert.equal(2, count(result.stdout, "recipe random: 3 generators with a fresh seed\n"), result.stdout)
    local without = said(run(nil, "with_generators"), "worker")
    assert.equal(without[1]:match "^%S+ %S+", without[2]:match "^%S+ %S+")
  end)

  it("pycryptodome tells its generator of the fork", function()
    local result = run("pycryptodome", "with_generators")
    assert.equal(2, count(result.stdout, "recipe pycryptodome: 1 generators told of the fork\n"), result.stdout)
    local first, second = unpack(said(result, "worker"))
    assert.are_not.equal(first:match "%S+$", second:match "%S+$")
  end)

  it("prometheus_client removes the live gauges of workers that have ended", function()
    local function files(name)
      local directory = support.tmpdir()
      return run(name, "with_prometheus", { env = { PROMETHEUS_MULTIPROC_DIR = directory } })
    end
    local result = files "prometheus_client"
    assert.same({ "1" }, said(result, "files"), result.stdout) -- the master's own
    assert.same({ "['busy 0.0']" }, said(result, "sum"))
    assert.equal(2, count(result.stdout, "recipe prometheus_client: 1 files of a dead worker removed\n"))
    assert.same({ "['busy 2.0']" }, said(files(nil), "sum"))
  end)

  it("confluent_kafka makes producers again, wherever they are held", function()
    local result = run("confluent_kafka", "with_kafka")
    assert.same({ "5 new, 0 stuck, label", "5 new, 0 stuck, label" }, said(result, "worker"))
    assert.equal(2, count(result.stdout, "recipe confluent_kafka: 5 producers made again\n"))
  end)

  it("confluent_kafka retires a worker whose producers have callbacks", function()
    local result = run("confluent_kafka", "with_kafka", { env = { WITH_CALLBACK = "1", SERVE_WORKERS = "1" } })
    assert.truthy(result.stdout:find("a Producer with callbacks cannot be made again from outside", 1, true))
    assert.same({ "1" }, said(result, "verdict"))
  end)

  -- forksafe prefork: a C program with no other generator than these.
  local function random_numbers(name, source)
    local directory = servers.application {
      ["10-recipe.lua"] = name and ('require "forksafe.recipes.%s"\n'):format(name) or "",
      ["postfork.lua"] = source,
    }
    support.write(directory .. "/production.ini", "[app:main]\nuse = egg:shop\nforksafe.scripts = %(here)s/hooks\nforksafe.lua_libs = full\n")
    local result = support.run { support.paths.command, "prefork", "--workers", "3", "--once", directory .. "/production.ini", "--", "/bin/true" }
    local seen, different = {}, 0
    for value in result.output:gmatch "number (%d+%.?)\n" do
      different = different + (seen[value] and 0 or 1)
      seen[value] = true
    end
    return different, result.output
  end

  it("libc gives the C library's generators a fresh seed", function()
    for _, draw in ipairs { "long random(void);", "int rand(void);", "long lrand48(void);" } do
      local source = ([[
local ffi = require "ffi"
ffi.cdef "%s"
return function() forksafe.log.info("number %%d", tonumber(ffi.C.%s())) end]]):format(draw, draw:match "(%w+)%(")
      local different, output = random_numbers("libc", source)
      assert.equal(3, different, output)
      assert.equal(3, count(output, "recipe libc: 1 generator with a fresh seed\n"))
      assert.equal(1, (random_numbers(nil, source)))
    end
  end)

  it("openssl gives OpenSSL's generator a fresh seed, where it is loaded", function()
    local with = bridge.in_python(hooks "openssl", { modules = { "ssl" } })
    assert.truthy(with.stdout:find("recipe openssl: 1 generator with a fresh seed", 1, true), with.output)
    local without = bridge.in_python(hooks "openssl", { modules = { "json" } })
    assert.truthy(without.stdout:find("recipe openssl: nothing to repair (none found)", 1, true), without.output)
  end)
end)

describe("a recipe", function()
  local ALL = { "sqlalchemy", "django", "pymongo", "pycryptodome", "random", "confluent_kafka", "prometheus_client", "active_record", "pg",
    "openssl", "libc" }

  local function all_hooks()
    local lines = {}
    for _, name in ipairs(ALL) do
      lines[#lines + 1] = ('require "forksafe.recipes.%s"'):format(name)
    end
    return { ["recipes.lua"] = table.concat(lines, "\n") .. "\n" }
  end

  it("complains of nothing where its library is not loaded", function()
    local result = bridge.in_python(all_hooks(), { modules = { "json" } })
    assert.equal(0, result.code, result.output)
    assert.same({ "0" }, said(result, "verdict"))
    for _, name in ipairs(ALL) do
      local why = (name == "pg" or name == "active_record") and "no ruby here" or name == "openssl" and "none found" or "not loaded"
      local line = name == "libc" and "recipe libc: 1 " or ("recipe %s: nothing to repair (%s)"):format(name, why)
      assert.equal(1, count(result.stdout, line:gsub("%p", "%%%0")), line .. "\n" .. result.stdout)
    end
  end)

  it("complains of nothing under a server in another language", function()
    local result = bridge.in_ruby(all_hooks())
    assert.equal(0, result.code, result.output)
    assert.same({ "0" }, said(result, "verdict"))
    assert.equal(6, count(result.stdout, "nothing to repair %(no python here%)\n"), result.stdout)
    assert.equal(2, count(result.stdout, "nothing to repair %(not loaded%)\n"), result.stdout)
  end)

  it("is a subscriber of the script that requires it, retires the worker where it fails, and can be called by hand", function()
    local result = bridge.in_python({
      ["10-recipes.lua"] = '\nrequire "forksafe.recipes.libc"\n',
      ["postfork.lua"] = 'local repair = require "forksafe.recipes.libc"\nreturn function() forksafe.log.info("by hand %d", repair()) end',
    })
    assert.same({ "recipe libc: 1 generator with a fresh seed", "recipe libc: 1 generator with a fresh seed", "by hand 1" }, result.said)
    local subscriber = support.debug(result.ini, { previous = true }).subscribers[1]
    assert.equal("recipes.libc", subscriber.name)
    assert.equal(result.directory .. "/hooks/10-recipes.lua", subscriber.path)
    assert.equal(2, subscriber.line)
    assert.equal("retire_worker", subscriber.on_error)
    assert.equal(10, subscriber.order)
  end)
end)
