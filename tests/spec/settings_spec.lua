-- SPDX-License-Identifier: MIT
--
-- registry.settings is what PasteDeploy's own loader gives: its recorded answers, and its answers here and now to random
-- inis, against the real `forksafe settings`. Needs python3-pastedeploy.
local cjson = require "cjson"
local stdlib = require "posix.stdlib"
local support = require "support"

local COMMAND = support.paths.command
local APP = "[app:main]\nuse = egg:fs-demo\n"
local ORACLE = support.paths.support .. "/paste_oracle.py"
local GENERATED = tonumber(stdlib.getenv "FORKSAFE_INI_COUNT" or 2000)
local SEED = tonumber(stdlib.getenv "FORKSAFE_INI_SEED" or 20221)

-- What the recorded answers call the directory that the cases lie in.
local function with_root(value, root)
  if type(value) == "string" then
    return (value:gsub("@ROOT@", (root:gsub("%%", "%%%%"))))
  elseif type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, inner in pairs(value) do
    copy[with_root(key, root)] = with_root(inner, root)
  end
  return copy
end

local function decode_base64(text)
  return support.must_run { "base64", "-d", stdin = text }
end

local function write_files(case, directory)
  for name, text in pairs(case.files) do
    local encoded = text:match "^b64:(.*)$"
    support.write(directory .. "/" .. name, encoded and decode_base64(encoded) or text)
  end
end

-- The arguments of the command for a case, as JSON tells it.
local function arguments_of(case)
  local list = { COMMAND, "settings", "--json", "--reveal" }
  if case.app ~= cjson.null then
    table.insert(list, "--app=" .. case.app)
  end
  for name, value in pairs(case.options) do
    table.insert(list, "--set=" .. name .. "=" .. value)
  end
  table.insert(list, case.uri)
  return list
end

local function settings_of(ini, ...)
  return support.run { COMMAND, "settings", "--json", "--reveal", ini, ... }
end

-- Loads an ini that has to be right.
local function load(text, ...)
  local ini = support.write(support.tmpdir() .. "/production.ini", text)
  local result = settings_of(ini, ...)
  assert.equal(0, result.code, result.stderr)
  return cjson.decode(result.stdout), ini
end

-- The one line that refuses an ini, without its directory.
local function refusal(text, ...)
  local ini = support.write(support.tmpdir() .. "/production.ini", text)
  local result = settings_of(ini, ...)
  assert.equal(1, result.code, result.output)
  assert.equal("", result.stdout)
  local line = result.stderr:match "^forksafe settings: ([^\n]*)\n$"
  assert.truthy(line, result.stderr)
  return (line:gsub("/%S*/production%.ini", "production.ini"))
end

describe("the recorded answers of PasteDeploy:", function()
  local text = support.read(support.paths.data .. "/paste_cases.json")
  local recorded = cjson.decode(text)
  assert(#recorded.cases >= 95, "the recorded cases are not all there")

  for _, case in ipairs(recorded.cases) do
    it(case.name, function()
      local root = support.tmpdir()
      local home = root .. "/" .. case.name
      write_files(case, home)
      local run = arguments_of(case)
      run.cwd, run.env = home, case.env
      local result = support.run(run)
      local expected = with_root(case.expected, root)
      if not expected.error then
        assert.equal(0, result.code, result.stderr)
        assert.same(expected, cjson.decode(result.stdout))
        return
      end
      assert.equal(1, result.code)
      assert.equal("", result.stdout)
      local place = home .. "/" .. case.uri:match "^[^#]*"
      if expected.error.lineno ~= cjson.null then
        place = place .. ":" .. expected.error.lineno .. ":"
      end
      assert.truthy(result.stderr:find(place, 1, true), result.stderr)
      assert.truthy(result.stderr:match "^[^\n]*\n$", "one line: " .. result.stderr)
    end)
  end
end)

describe("PasteDeploy here and now", function()
  local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
  end

  -- One shell runs the command for every case, in the case's directory: NAME.out, NAME.err and NAME.code beside it.
  local function run_all(answers, root)
    local lines = {}
    for _, case in ipairs(answers) do
      local words = {}
      for _, word in ipairs(arguments_of(case)) do
        table.insert(words, quote(word))
      end
      table.insert(lines, ("cd %s && { %s > ../%s.out 2> ../%s.err; echo $? > ../%s.code; }"):format(
        quote(root .. "/" .. case.name), table.concat(words, " "), case.name, case.name, case.name))
    end
    support.must_run { "/bin/sh", support.write(root .. "/run.sh", table.concat(lines, "\n") .. "\n"), timeout = 300 }
  end

  local function same(a, b)
    for key, value in pairs(a) do
      if b[key] ~= value then
        return false
      end
    end
    for key in pairs(b) do
      if a[key] == nil then
        return false
      end
    end
    return true
  end

  -- What is wrong with the command's answer; nil where it is the loader's.
  local function disagreement(case, place)
    local out, err = support.read(place .. ".out"), support.read(place .. ".err")
    local code = support.read(place .. ".code")
    if case.error then
      local refused = code == "1\n" and out == "" and err:match "^[^\n]+%.ini[^\n]*\n$"
      return not refused and ("must be refused (%s), code %s: %s"):format(case.error, code, err) or nil
    end
    if code ~= "0\n" then
      return "must be taken, code " .. code .. ": " .. err
    end
    local got = cjson.decode(out)
    if not same(case.settings, got.settings) or not same(case.global_conf, got.global_conf) then
      return "has other settings: " .. out .. " and not " .. cjson.encode(case)
    end
  end

  -- The loader's answers against the command's: how many were taken, and what is wrong in at most five of them.
  local function compare(answers, root)
    run_all(answers, root)
    local taken, wrong = 0, {}
    for _, case in ipairs(answers) do
      taken = taken + (case.error and 0 or 1)
      local what = disagreement(case, root .. "/" .. case.name)
      if what and #wrong < 5 then
        table.insert(wrong, case.name .. " " .. what .. "\n" .. (support.read(root .. "/" .. case.name .. "/production.ini") or ""))
      end
    end
    return taken, wrong
  end

  -- What random inis hardly ever have, by the rule that it tests.
  local chosen = {
    set_of_the_outer_section_wins = "[DEFAULT]\na = 0\n[app:main]\nuse = inner\nset a = outer\nget b = a\n[app:inner]\nuse = egg:fs-demo\nset a = inner\nget c = a\n",
    file_is_the_outer_one = { ["production.ini"] = "[app:main]\nuse = config:sub/base.ini\nset x = %(__file__)s\n",
      ["sub/base.ini"] = "[app:main]\nuse = egg:fs-demo\nset __file__ = inner\na = %(here)s %(__file__)s\nget b = here\nget c = __file__\n" },
    filter_with_keeps_its_own_settings = "[app:main]\nuse = inner\na = 1\nfilter-with = f\n[app:inner]\nuse = egg:fs-demo\nb = 2\n[filter:f]\nuse = egg:fs-demo\n",
    filter_with_inside_a_use = "[app:main]\nuse = inner\na = 1\n[app:inner]\nuse = egg:fs-demo\nb = 2\nfilter-with = f\n[filter:f]\nuse = egg:fs-demo\nset x = 1\n",
    filter_with_in_default = "[DEFAULT]\nfilter-with = nope\n" .. APP,
    set_in_default = "[DEFAULT]\nset a = %(b)s\nb = 1\nget c = b\n" .. APP .. "b = 2\n",
    default_that_interpolates_to_nothing = "[DEFAULT]\nnothing =\na = %(nothing)s\n" .. APP .. "b = x%(a)s\nget c = a\n",
    percent_read_twice = { ["production.ini"] = "[DEFAULT]\na = 100%%\n[app:main]\nuse = config:base.ini\n", ["base.ini"] = APP },
    percent_read_twice_and_fine = { ["production.ini"] = "[DEFAULT]\na = 100%%%%\n[app:main]\nuse = config:base.ini\n", ["base.ini"] = APP .. "b = %(a)s\n" },
    defaults_do_not_overwrite = { ["production.ini"] = "[DEFAULT]\na = outer\n[app:main]\nuse = config:base.ini\n",
      ["base.ini"] = "[DEFAULT]\na = inner\n" .. APP .. "b = %(a)s\nget c = a\n" },
    here_in_default_section = "[DEFAULT]\nhere = /elsewhere\n" .. APP .. "a = %(here)s\nget b = here\n",
    three_files = { ["production.ini"] = "[app:main]\nuse = config:sub/base.ini#other\na = %(here)s\n",
      ["sub/base.ini"] = "[app:other]\nuse = config:deeper/last.ini\nb = %(here)s\n",
      ["sub/deeper/last.ini"] = APP .. "a = 0\nb = 0\nc = %(here)s\n" },
    use_of_a_pipeline = "[app:main]\nuse = p\na = 1\n[pipeline:p]\npipeline = x\n[app:x]\nuse = egg:fs-demo\nb = 1\n",
    pipeline_with_words_on_lines = "[pipeline:main]\npipeline =\n  f\n  f\n\n  x\n[filter:f]\nuse = egg:fs-demo\n[app:x]\nuse = egg:fs-demo\n",
    pipeline_of_an_egg = "[pipeline:main]\npipeline = egg:fs-demo#filt egg:fs-demo\n",
    filter_app_with_settings = "[filter-app:main]\nnext = x\nuse = f\na = 1\nset b = 2\n[filter:f]\nuse = egg:fs-demo\nc = 3\n[app:x]\nuse = egg:fs-demo\n",
    factories = "[app:main]\npaste.app_factory = fs_demo:main\na = 1\n",
    two_factories = "[app:main]\npaste.app_factory = fs_demo:main\npaste.composit_factory = fs_demo:main\n",
    factory_beside_use = "[app:main]\nuse = egg:fs-demo\npaste.app_factory = fs_demo:main\n",
    empty_name = { ["production.ini"] = "[app:main]\nuse = config:base.ini#\n", ["base.ini"] = "[app:]\nuse = egg:fs-demo\na = 1\n" },
    absolute_config = { ["production.ini"] = "[app:main]\nuse = config:%(here)s/x/../base.ini\n", ["base.ini"] = APP .. "a = %(here)s\n", ["x/y"] = "" },
    carriage_returns = "[app:main]\r\nuse = egg:fs-demo\r\na = 1\r  2\r\r\r\n  3\r\nb = x\r",
    header_in_a_value = APP .. "a = 1\n  [app:main]\nb = 2\n",
    continued_after_a_deep_key = "[app:main]\n    a = 1\n  b = 2\n   c = 3\n d = 4\nuse = egg:fs-demo\n",
    no_newline_at_the_end = APP .. "a = 1\n  2",
    delimiters = APP .. "a == 1\nb := 2\nc=: 3\nd :: 4\n",
    next_line_character = APP .. "a = 1\194\1332\n\194\133b = 2\n",
    surrogate = APP .. "a = \237\160\128\n",
    beyond_unicode = APP .. "# \244\144\128\128\n",
  }

  it("agrees on what is chosen for each rule", function()
    local root = support.tmpdir()
    local cases = {}
    for name, files in pairs(chosen) do
      files = type(files) == "string" and { ["production.ini"] = files } or files
      local encoded = {}
      for path, text in pairs(files) do
        encoded[path] = "b64:" .. support.must_run { "base64", "-w0", stdin = text }
      end
      table.insert(cases, { name = name, files = encoded, uri = "production.ini", app = cjson.null, options = { given = "1" } })
    end
    local answers = cjson.decode(support.must_run {
      "/usr/bin/python3", ORACLE, "answer", root, stdin = cjson.encode { cases = cases },
    })
    for _, case in ipairs(answers) do
      chosen[case.name] = nil
    end
    assert.is_nil((next(chosen)), "only Python can tell")
    local _, wrong = compare(answers, root)
    assert.equal(0, #wrong, table.concat(wrong, "\n"))
  end)

  it("agrees on random inis, to the last value", function()
    local root = support.tmpdir()
    print(("seed %d, %d inis"):format(SEED, GENERATED))
    local answers = cjson.decode(support.must_run {
      "/usr/bin/python3", ORACLE, "generate", root, "--seed", tostring(SEED), "--count", tostring(GENERATED), timeout = 300,
    })
    assert.equal(GENERATED, #answers)
    local taken, wrong = compare(answers, root)
    assert.equal(0, #wrong, ("seed %d:\n%s"):format(SEED, table.concat(wrong, "\n")))
    assert.truthy(taken > GENERATED / 3 and taken < GENERATED * 2 / 3, "the inis are no longer a fair mixture: " .. taken)
  end)
end)

describe("a long ini", function()
  it("keeps values, keys and section names of a megabyte", function()
    local long = ("x"):rep(1000000)
    local got = load("[app:" .. long .. "]\nuse = egg:y\n[app:main]\nuse = egg:x\na = " .. long .. "\n" .. long .. " = %(a)s%(a)s\n"
      .. "b =\n" .. ("  line\n"):rep(100000))
    assert.equal(long, got.settings.a)
    assert.equal(long .. long, got.settings[long])
    assert.equal(("\nline"):rep(100000), got.settings.b)
  end)

  it("of a hundred thousand keys is read whole", function()
    local lines = { "[DEFAULT]" }
    for number = 1, 100000 do
      lines[number + 1] = "d" .. number .. " = " .. number
    end
    table.insert(lines, APP)
    for number = 1, 100000 do
      table.insert(lines, "k" .. number .. " = %(d" .. number .. ")s")
    end
    local got = load(table.concat(lines, "\n"))
    assert.equal("77777", got.settings.k77777)
    assert.equal("77777", got.global_conf.d77777)
  end)
end)

describe("a refusal names the line:", function()
  local function refused(name, text, expected)
    it(name, function()
      assert.equal(expected, refusal(text))
    end)
  end

  refused("a NUL byte", APP .. "a = 1\nb = \0\n", "production.ini:4: has a NUL byte; an ini is text")
  refused("what is not UTF-8", APP .. "\n# caf\233\n", "production.ini:4: is not UTF-8 from byte 0xe9 on; save it as UTF-8")
  for _, bytes in ipairs {
    "\128", "\192\175", "\193\191", "\224\159\191", "\237\160\128", "\240\143\191\191", "\244\144\128\128", "\245\128\128\128", "\226\130", "\255",
  } do
    refused("bytes that no character has: " .. bytes:gsub(".", function(c) return ("%02x "):format(c:byte()) end), APP .. "a = x" .. bytes,
      ("production.ini:3: is not UTF-8 from byte 0x%02x on; save it as UTF-8"):format(bytes:byte()))
  end
  refused("a byte order mark", "\239\187\191" .. APP, "production.ini:1: starts with a byte order mark; save it as UTF-8 without one")
  refused("a key before a section", "\n\na = 1\n" .. APP, "production.ini:3: has a key before the first [section]")
  refused("a section twice", APP .. "[x]\n[y]\n[x]\n", "production.ini:5: section [x] is already there, on line 3")
  refused("a key twice", APP .. "a = 1\r\n\r\na = 2\r\n", "production.ini:5: a is already set in this section, on line 3")
  refused("a lone percent sign", APP .. "a = 1\nb = 5%\n",
    "production.ini:4: b: has a % that is neither %% nor %(name)s; write %% for a percent sign")
  refused("a name that is nowhere", APP .. "a = %(b)s\nb = %(secret)s\n",
    "production.ini:4: b: has a %(name)s whose name is neither in this section nor in [DEFAULT]")
  refused("a value that refers to itself", APP .. "a = x%(a)s\n",
    "production.ini:3: a: has %(name)s more than ten deep; does a value refer to itself?")
  refused("a `use` of nothing", "[app:main]\nuse = secret\n",
    "production.ini:2: use: there is no such section in production.ini: it has to be an application "
    .. "([app:NAME], [composite:NAME], [pipeline:NAME] or [filter-app:NAME])")
  refused("a `get` of nothing", APP .. "get a = secret\n", "production.ini:3: a: `get` names a key that is neither in [DEFAULT] nor `set`")
  refused("no `use`", "[x]\n[app:main]\na = 1\n", "production.ini:2: [app:main] has no `use = ...` that says what it is")
  refused("an ini that is not there", "[app:main]\na = 1\nuse = config:secret.ini\n",
    "production.ini:3: use: the ini that `config:` names is not there")
  refused("an unknown scheme", "[app:main]\nuse = secret:x\n", "production.ini:2: use: knows config:, egg: and call:, and no other scheme")
  refused("an egg with a line that was meant to be a key", "[app:main]\nuse = egg:x#main\n  a = 1\n",
    "production.ini:2: use: `egg:` needs distribution#name, on one line")
  refused("a loop", "[app:main]\nuse = main\n", "production.ini:2: use: goes too deep; does a section use itself?")
  refused("two of a name", APP .. "[pipeline:main]\npipeline = x\n",
    "production.ini:3: [pipeline:main] has the name of [app:main] on line 1; which one is meant?")
  refused("a pipeline with settings", "[pipeline:main]\npipeline = x\nextra = 1\n",
    "production.ini:3: extra: a pipeline section cannot have settings of its own")
end)

describe("an ini that would take all memory or time", function()
  local function levels(last)
    local lines = { APP .. "k9 = " .. last }
    for level = 0, 8 do
      table.insert(lines, "k" .. level .. " = " .. ("%(k" .. (level + 1) .. ")s"):rep(20))
    end
    return "[DEFAULT]\nnothing =\n" .. table.concat(lines, "\n") .. "\n"
  end

  it("is refused when values multiply", function()
    assert.truthy(refusal(levels "x%%"):find("k8: has more %(name)s in it", 1, true))
    assert.truthy(refusal(levels "%(nothing)s"):find("has more %(name)s in it", 1, true))
    assert.truthy(refusal(APP .. "a = " .. ("x"):rep(1000000) .. "\nb = " .. ("%(a)s"):rep(300) .. "\n"):find("come to more than 256 MB", 1, true))
  end)

  it("is refused when sections multiply", function()
    local lines = { "[app:main]\nuse = egg:x\nfilter-with = f0\n[filter:f25]\nuse = egg:x" }
    for number = 0, 24 do
      table.insert(lines, ("[filter:f%d]\nuse = f%d\nfilter-with = f%d"):format(number, number + 1, number + 1))
    end
    assert.truthy(refusal(table.concat(lines, "\n")):find("makes too many sections be used", 1, true))
  end)
end)

describe("forksafe settings", function()
  it("hides values unless told otherwise, in both forms", function()
    local ini = support.write(support.tmpdir() .. "/production.ini", APP .. "db.password = canary-1\nset x = canary-2\n")
    for _, run in ipairs { { COMMAND, "settings", ini }, { COMMAND, "settings", "--json", ini } } do
      local result = support.run(run)
      assert.equal(0, result.code, result.stderr)
      assert.is_nil(result.output:find("canary", 1, true))
      assert.truthy(result.stdout:find("db.password", 1, true))
    end
    assert.same({ ["db.password"] = "(hidden)" }, cjson.decode(support.must_run { COMMAND, "settings", "--json", ini }).settings)
    local shown = support.must_run { COMMAND, "settings", "--reveal", ini }
    assert.truthy(shown:find("^db%.password = canary%-1\n\nglobal_conf\nhere = /[^\n]*\n__file__ = /[^\n]*/production%.ini\nx = canary%-2\n"))
  end)

  it("never shows a value in a refusal", function()
    for _, line in ipairs {
      "a = canary%", "a = %(canary)s", "get a = canary", "canary", "filter-with = canary", "paste.app_factory = canary\nuse = canary",
      "a = %(b)s\nb = %(c)s canary", "forksafe.audit = canary", "forksafe.instance = can/ary",
    } do
      local use = line:find "use" and "" or "use = egg:x\n"
      local ini = support.write(support.tmpdir() .. "/production.ini", "[app:main]\n" .. use .. line .. "\n")
      local result = support.run { COMMAND, "settings", ini }
      assert.equal(1, result.code, line)
      assert.is_nil(result.stderr:find("canary", 1, true), result.stderr)
      assert.is_nil(result.stderr:find("can/ary", 1, true), result.stderr)
    end
  end)

  it("shows control characters as text in the listing", function()
    local ini = support.write(support.tmpdir() .. "/production.ini", APP .. "a = x\27[2Jy\194\155z\n  second\n")
    local shown = support.must_run { COMMAND, "settings", "--reveal", ini }
    assert.truthy(shown:find("a = x\\x1b[2Jy\\x9bz\n    second\n", 1, true), shown)
  end)

  it("takes names beside the ini, the last of two that are alike", function()
    local got = load(APP .. "port = %(http_port)s\n", "--set", "http_port=1", "--set", "http_port=80=80")
    assert.equal("80=80", got.settings.port)
    assert.equal("80=80", got.global_conf.http_port)
  end)

  it("ends with 2 for wrong arguments, with 0 for --help, and says so where it belongs", function()
    for _, arguments in ipairs { {}, { "a", "b" }, { "--set", "x", "a" }, { "--set", "=x", "a" }, { "--set", "x=\255", "a" }, { "--nope" } } do
      local result = support.run { COMMAND, "settings", unpack(arguments) }
      assert.equal(2, result.code, table.concat(arguments, " "))
      assert.equal("", result.stdout)
      assert.truthy(result.stderr:find("forksafe settings: ", 1, true))
    end
    local help = support.run { COMMAND, "settings", "--help" }
    assert.equal(0, help.code)
    assert.equal("", help.stderr)
    assert.truthy(help.stdout:find("--reveal", 1, true))
    assert.truthy(support.must_run({ COMMAND, "settings", "--version" }):find("^forksafe %d"))
  end)

  it("says what is not an ini", function()
    local directory = support.tmpdir()
    support.must_run { "mkfifo", directory .. "/fifo" }
    for path, expected in pairs {
      ["/nope.ini"] = "there is no such file", [""] = "is not a regular file", ["/fifo"] = "is not a regular file",
    } do
      local result = settings_of(directory .. path)
      assert.equal(1, result.code)
      assert.equal("forksafe settings: " .. directory .. path .. ": " .. expected .. "\n", result.stderr)
    end
  end)

  it("ends with 4 where it may not read", function()
    if require("posix.unistd").getuid() ~= 0 then
      return -- root alone can become somebody who may not
    end
    local directory = support.tmpdir()
    local ini = support.write(directory .. "/production.ini", APP, tonumber("600", 8))
    support.must_run { "cp", COMMAND, directory .. "/forksafe" } -- the build may lie where nobody else can go
    local result = support.run { directory .. "/forksafe", "settings", ini, uid = 65534 }
    assert.equal(4, result.code, result.output)
    assert.truthy(result.stderr:find(ini .. ": cannot be read: Permission denied", 1, true), result.stderr)
  end)

  it("fails when its output cannot be written", function()
    local ini = support.write(support.tmpdir() .. "/production.ini", APP)
    local result = support.run { "/bin/sh", "-c", COMMAND .. " settings " .. ini .. " > /dev/full" }
    assert.equal(1, result.code)
    assert.equal("forksafe settings: cannot write to standard output\n", result.stderr)
  end)
end)

describe("an ini of forksafe's own", function()
  it("has [settings], and its [forksafe] is not among them", function()
    local got, ini = load("[DEFAULT]\nbase = /srv\n[forksafe]\nscripts = %(here)s/hooks\n[settings]\ndir = %(base)s/x\nbase = y\nforksafe.x = 1\n")
    local here = ini:match "^(.*)/"
    assert.same({ dir = "y/x", base = "y", ["forksafe.x"] = "1" }, got.settings)
    assert.same({ here = here, __file__ = ini, base = "/srv" }, got.global_conf)
  end)

  it("may have neither settings nor keys", function()
    assert.same({}, load("[forksafe]\n").settings)
  end)

  it("takes names beside it, over its own [DEFAULT]", function()
    local got = load("[DEFAULT]\nport = 1\n[forksafe]\n[settings]\na = %(port)s\n", "--set", "port=2")
    assert.equal("2", got.settings.a)
    assert.equal("2", got.global_conf.port)
  end)

  it("refuses sections and applications that it cannot have", function()
    assert.equal("production.ini:2: [setings] has no meaning beside [forksafe]: there are [forksafe], [settings] and [DEFAULT]",
      refusal "[forksafe]\n[setings]\n")
    assert.equal("production.ini: has [forksafe] and no applications: it is named without #other", refusal("[forksafe]\n", "--app", "other"))
  end)

  it("is PasteDeploy's after all where it has an application", function()
    assert.same({ a = "1" }, load(APP .. "a = 1\n[forksafe]\nscripts = x\n[settings]\nb = 2\n").settings)
  end)
end)
