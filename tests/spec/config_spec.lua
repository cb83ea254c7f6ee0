-- SPDX-License-Identifier: MIT
--
-- The forksafe.* keys: their defaults, what each takes, and what is said of what it does not take. Through `forksafe settings`.
local support = require "support"

local COMMAND = support.paths.command
local APP = "[app:main]\nuse = egg:fs-demo\n"

-- Each run has an ini of its own: production.ini in a fresh directory, unless `name` says otherwise.
local function run(text, name, ...)
  local ini = support.write(support.tmpdir() .. "/" .. (name or "production.ini"), text)
  local result = support.run { COMMAND, "settings", "--reveal", ini .. (... or "") }
  result.ini, result.here = ini, ini:match "^(.*)/production%.ini$"
  return result
end

-- What the command says forksafe takes from the ini: key → text, and key → true where that is the default.
local function config_of(result)
  local block = result.stdout:match "\n\nforksafe\n(.*)$"
  assert.truthy(block, result.output)
  local values, defaults = {}, {}
  for name, text in block:gmatch "forksafe%.(%S+) = ([^\n]*)\n" do
    values[name] = text:gsub(" %(default%)$", "")
    defaults[name] = text:find " %(default%)$" ~= nil
  end
  return values, defaults
end

local function value_of(key, text)
  local result = run(APP .. "forksafe." .. key .. " = " .. text .. "\n")
  assert.equal(0, result.code, result.stderr)
  return config_of(result)[key], result
end

-- Everything on standard error, without the directory of the ini.
local function complaints(text, name)
  local result = run(text, name)
  assert.equal(1, result.code, result.output)
  return (result.stderr:gsub("/%S*/", "")), result
end

describe("the keys of forksafe", function()
  it("have their defaults", function()
    local result = run(APP)
    assert.equal(0, result.code, result.stderr)
    local values, defaults = config_of(result)
    for name in pairs(values) do
      assert.truthy(defaults[name], name)
    end
    assert.truthy(values.instance:find "^production%-%x%x%x%x%x%x$", values.instance)
    values.instance = nil
    assert.same({
      scripts = "none", includes = "auto", enabled = "true", required = "false", runtime_dir = "none", journal = "none",
      journal_keep = "3", journal_group = "none", baseline = "none", max_workers = "1024", records = "32", time_limit = "1s", memory_limit = "32M",
      lua_libs = "safe", on_error = "log", audit = "true", log_level = "info", worker_script = "none",
    }, values)
  end)

  it("are read in forksafe's own format, too", function()
    local result = run("[forksafe]\nrecords = 64\nscripts = hooks\n[settings]\nforksafe.records = 7\n")
    assert.equal(0, result.code, result.stderr)
    local values, defaults = config_of(result)
    assert.equal("64", values.records)
    assert.equal(result.here .. "/hooks", values.scripts)
    assert.is_false(defaults.records)
    assert.is_true(defaults.max_workers)
  end)

  it("are taken from the application that a pipeline or a filter is put around", function()
    local result = run("[pipeline:main]\npipeline = f shop\n[filter:f]\nuse = egg:f\n[app:shop]\nuse = egg:x\nforksafe.records = 64\n")
    assert.equal(0, result.code, result.stderr)
    assert.equal("64", config_of(result).records)
    result = run("[filter-app:main]\nuse = egg:f\nnext = shop\nforksafe.records = 4\n[app:shop]\nuse = egg:x\nforksafe.records = 64\nforksafe.journal_keep = 9\n")
    assert.equal("4", config_of(result).records)
    assert.equal("9", config_of(result).journal_keep)
  end)

  it("may be interpolated, and overwritten by an ini that uses another", function()
    local result = run("[app:main]\nuse = config:base.ini\nforksafe.records = 4\n")
    assert.equal(1, result.code) -- base.ini is not there yet
    support.write(result.here .. "/base.ini", "[app:main]\nuse = egg:x\nforksafe.records = 8\nforksafe.scripts = %(here)s/%(__file__)s\n")
    local shown = support.must_run { COMMAND, "settings", "--reveal", result.ini }
    local values = config_of { stdout = shown }
    assert.equal("4", values.records)
    assert.equal(result.here .. "/" .. result.here .. "/base.ini", values.scripts)
  end)

  it("take paths from the directory of the ini", function()
    local value, result = value_of("scripts", "hooks/x")
    assert.equal(result.here .. "/hooks/x", value)
    assert.equal("/srv/hooks", (value_of("journal", "/srv/hooks")))
    assert.equal("none", (value_of("worker_script", "")))
  end)
end)

-- A test's name, on one line.
local function name_of(key, text)
  return (key .. " = " .. text:sub(1, 40):gsub("%c", " "))
end

describe("a value of a key is taken:", function()
  local function taken(key, texts)
    for text, value in pairs(texts) do
      it(name_of(key, text), function()
        assert.equal(value, (value_of(key, text)))
      end)
    end
  end

  taken("enabled", {
    ["true"] = "true", YES = "true", y = "true", t = "true", On = "true", ["1"] = "true",
    ["false"] = "false", no = "false", n = "false", F = "false", off = "false", ["0"] = "false", ["\194\160no\194\160"] = "false",
  })
  taken("max_workers", { ["1"] = "1", ["100000"] = "100000", ["007"] = "7" })
  taken("records", { ["2"] = "2", ["65536"] = "65536" })
  taken("journal_keep", { ["0"] = "0", ["1000"] = "1000" })
  taken("time_limit", {
    ["0"] = "0", ["0s"] = "0", ["500ms"] = "500ms", ["2s"] = "2s", ["0.5s"] = "500ms", ["1.25S"] = "1250ms", ["1ms"] = "1ms",
    ["1.5ms"] = "1500000ns", ["0.001000001s"] = "1000001ns", ["86400s"] = "86400s", ["60000ms"] = "60s",
  })
  taken("memory_limit", { ["32M"] = "32M", ["1g"] = "1G", ["1.5G"] = "1536M", ["1048576"] = "1M", ["1025k"] = "1025K", ["1048577"] = "1048577" })
  taken("lua_libs", { safe = "safe", full = "full" })
  taken("on_error", { log = "log", retire_worker = "retire_worker", stop_server = "stop_server" })
  taken("log_level", { debug = "debug", info = "info", warning = "warning", error = "error" })
  taken("includes", {
    auto = "auto", ["forksafe.containers.uwsgi"] = "forksafe.containers.uwsgi", [""] = "none",
    ["forksafe.containers.uwsgi  auto"] = "forksafe.containers.uwsgi  auto",
  })
  taken("instance", { shop = "shop", ["Shop_1.eu-west"] = "Shop_1.eu-west", [("x"):rep(64)] = ("x"):rep(64), _x = "_x" })
  taken("journal_group", { adm = "adm" })
end)

describe("a value of a key is refused, with the line and what it takes:", function()
  local function refused(key, takes, texts)
    for _, text in ipairs(texts) do
      it(name_of(key, text), function()
        local said = complaints(APP .. "a = 1\nforksafe." .. key .. " = " .. text .. "\n")
        assert.equal("forksafe settings: production.ini:4: forksafe." .. key .. " takes " .. takes .. "\n", said)
      end)
    end
  end

  local bools = "true, yes, y, t, on, 1 or false, no, n, f, off, 0"
  refused("enabled", bools, { "", "2", "flase", "yes please", "true ; x", "\239\188\180\239\188\178\239\188\181\239\188\165" })
  refused("required", bools, { "maybe" })
  refused("audit", bools, { "strict" })
  refused("max_workers", "a number from 1 to 100000", { "", "0", "100001", "-1", "+1", "1.5", "0x10", "ten", "4294967297", "99999999999999999999" })
  refused("records", "a number from 2 to 65536", { "1", "65537" })
  refused("journal_keep", "a number from 0 to 1000", { "1001", "3 4" })
  refused("time_limit", "a time such as 500ms or 2s, at least 1ms and at most a day, or 0 for none",
    { "", "5", "1m", "1 s", ".5s", "1.s", "s", "-1s", "1e3s", "0.0001s", "0.00000000001s", "86401s", "18446744073709551615s", "nan", "1ss" })
  refused("memory_limit", "a size such as 32M or 1G, at least 1M",
    { "", "32", "512K", "32MB", "0.5M", "2T", "2000G", "M", "-1M", "18446744073709551615G", "17179869184G" })
  refused("lua_libs", "safe or full", { "", "unsafe", "safe full" })
  refused("on_error", "log, retire_worker or stop_server", { "retire", "stop" })
  refused("log_level", "debug, info, warning or error", { "warn", "3" })
  refused("includes", "auto, or names such as forksafe.containers.uwsgi with white space between them",
    { "uwsgi", "forksafe.containers.", "auto, forksafe.containers.uwsgi", "pyramid_debugtoolbar" })
  refused("scripts", "a path, on one line", { "a\n  b", "x\27y" })
  refused("journal_group", "a name, on one line", { "a\n  b" })
  refused("instance", "at most 64 of the characters A-Z a-z 0-9 . _ - and neither . nor - first",
    { "a/b", "..", ".x", "-x", "caf\195\169", "two words", ("x"):rep(65) })
end)

describe("a key of forksafe", function()
  it("that is not known is told with the nearest one", function()
    for typo, meant in pairs {
      time_limt = "time_limit", tiem_limit = "time_limit", script = "scripts", runtimedir = "runtime_dir", onerror = "on_error",
      ["max-workers"] = "max_workers", Scripts = "scripts", journal_keeep = "journal_keep",
    } do
      assert.equal("forksafe settings: production.ini:3: forksafe." .. typo .. " is not a key of forksafe; did you mean forksafe." .. meant .. "?\n",
        (complaints(APP .. "forksafe." .. typo .. " = x\n")))
    end
    assert.equal("forksafe settings: production.ini:3: time_limt is not a key of forksafe; did you mean time_limit?\n",
      (complaints "[settings]\n[forksafe]\ntime_limt = 1s\n"))
  end)

  it("that is like none is told with all there are", function()
    for _, name in ipairs { "quarantine_everything", ("x"):rep(100000), "", "\195\169\195\169" } do
      local said = complaints(APP .. "forksafe." .. name .. " = x\n")
      assert.truthy(said:find("; the keys are scripts, includes, enabled, required, instance, runtime_dir, journal, journal_keep, "
        .. "journal_group, max_workers, records, time_limit, memory_limit, lua_libs, on_error, audit, baseline, log_level, worker_script\n", 1, true), said)
      assert.truthy(#said < 500)
    end
  end)

  it("that is wrong does not hide the next one, and has its default", function()
    local said, result = complaints(APP .. "forksafe.recrods = 4\nforksafe.records = many\nforksafe.audit = maybe\nforksafe.max_workers = 7\n")
    assert.equal("forksafe settings: production.ini:3: forksafe.recrods is not a key of forksafe; did you mean forksafe.records?\n"
      .. "forksafe settings: production.ini:4: forksafe.records takes a number from 2 to 65536\n"
      .. "forksafe settings: production.ini:5: forksafe.audit takes true, yes, y, t, on, 1 or false, no, n, f, off, 0\n", said)
    assert.equal("7", config_of(result).max_workers)
  end)

  it("that PasteDeploy hides in global_conf is told", function()
    local expected = ": forksafe.records is in global_conf ([DEFAULT], `set`, or given beside the ini), which is not read for keys of "
      .. "forksafe: it belongs in the application's section\n"
    assert.equal("forksafe settings: production.ini:2" .. expected, (complaints("[DEFAULT]\nforksafe.records = 4\n" .. APP)))
    assert.equal("forksafe settings: production.ini:3" .. expected, (complaints(APP .. "set forksafe.records = 4\n")))
    assert.equal("4", config_of(run("[DEFAULT]\nforksafe.records = 4\n" .. APP .. "get forksafe.records = forksafe.records\n")).records)
  end)

  it("that is wrong names the file that has it", function()
    local directory = support.tmpdir()
    support.write(directory .. "/base.ini", "\n[app:main]\nuse = egg:x\nforksafe.audit = maybe\n")
    local ini = support.write(directory .. "/production.ini", "[app:main]\nuse = config:base.ini\n")
    local result = support.run { COMMAND, "settings", ini }
    assert.truthy(result.stderr:find(directory .. "/base.ini:4: forksafe.audit takes", 1, true), result.stderr)
  end)

  it("that is wrong leaves the JSON of the settings as it is, and its exit code", function()
    local ini = support.write(support.tmpdir() .. "/production.ini", APP .. "forksafe.recrods = 4\n")
    local result = support.run { COMMAND, "settings", "--json", ini }
    assert.equal(0, result.code)
    assert.truthy(result.stderr:find("did you mean forksafe.records?", 1, true))
    assert.truthy(result.stdout:find('"forksafe.recrods": "(hidden)"', 1, true))
  end)
end)

describe("the name of an instance", function()
  local function instance_of(text, name, fragment)
    local result = run(text, name, fragment)
    assert.equal(0, result.code, result.stderr)
    return config_of(result).instance, result
  end

  it("is the ini's with a hash, in characters that are safe everywhere", function()
    assert.truthy(instance_of(APP, "my shop.ini"):find "^my_shop%-%x%x%x%x%x%x$")
    assert.truthy(instance_of(APP, ".hidden"):find "^_hidden%-%x+$")
    assert.truthy(instance_of(APP, "-x.ini"):find "^_x%-%x+$")
    assert.truthy(instance_of(APP, "caf\195\169.conf"):find "^caf__%.conf%-%x+$")
    local long = instance_of(APP, ("l"):rep(200) .. ".ini")
    assert.equal(64, #long)
    assert.truthy(long:find "^l+%-%x%x%x%x%x%x$")
  end)

  it("is not that of another ini of the same name, nor of another application", function()
    local first, result = instance_of(APP .. "[app:admin]\nuse = egg:x\n")
    assert.are_not.equal(first, (instance_of(APP)))
    local function at(uri)
      return config_of { stdout = support.must_run { COMMAND, "settings", uri } }.instance
    end
    assert.equal(first, at(result.ini))
    assert.equal(first, at(result.ini .. "#main"))
    assert.are_not.equal(first, at(result.ini .. "#admin"))
  end)

  it("is the same through a symbolic link to its directory", function()
    local first, result = instance_of(APP)
    local link = support.tmpdir() .. "/link"
    assert(require("lfs").link(result.here, link, true))
    assert.equal(first, config_of({ stdout = support.must_run { COMMAND, "settings", link .. "/production.ini" } }).instance)
  end)
end)
