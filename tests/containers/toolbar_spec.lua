-- SPDX-License-Identifier: MIT
--
-- forksafe's panel in Debian's django-debug-toolbar, fetched over HTTP from gunicorn with 3 workers; and the rendering
-- that all panels share, with documents that no library would write.
local cjson = require "cjson"
local signal = require "posix.signal"
local support = require "support"
local toolbar = require "support.toolbar"

local function django(t)
  t.app = "django_site:application"
  return toolbar.start(t)
end

-- The page of one worker: its pid and the panel in it.
local function page_of(server)
  local page = support.http_wait(server.port, "/", 20)
  return tonumber(page:match "page of (%d+)"), toolbar.panel_of(page)
end

local function panel_getter(server)
  return function()
    return (select(2, page_of(server)))
  end
end

local function lines_in(panel)
  local lines = {}
  for line in panel:gmatch "<p>([^<]*)</p>" do
    table.insert(lines, line)
  end
  return lines
end

describe("the panel in django-debug-toolbar", function()
  it("shows all three workers, whichever of them answers", function()
    local server = django {}
    toolbar.assert_shows_all(server, panel_getter(server))
    local answered = {}
    support.eventually("two workers have answered", function()
      local pid, panel = page_of(server)
      answered[#answered + 1] = pid
      toolbar.assert_shows_all(server, function()
        return panel
      end)
      return answered[1] ~= pid
    end)
  end)

  it("shows what the debug object says", function()
    local server = django {}
    local panel = toolbar.assert_shows_all(server, panel_getter(server))
    local object = support.debug(server.ini)
    assert.truthy(panel:find("<p>gunicorn hook configured (gunicorn)</p>", 1, true))
    assert.truthy(panel:find("<li>gunicorn available</li><li>gunicorn hook configured</li>", 1, true))
    for _, hook in ipairs(object.hooks) do
      local row = ("<tr><td>%s</td><td>%s</td><td>%d</td></tr>"):format(hook.hook, hook.event, hook.runs)
      assert.equal(hook.runs > 0, panel:find(row, 1, true) ~= nil, row)
    end
    for _, record in ipairs(object.records) do
      assert.truthy(panel:find(("<td>%s</td><td>%d</td>"):format(record.at, record.pid), 1, true), record.at)
    end
    assert.truthy(panel:find "<td>postfork</td><td>ApplicationPostFork</td><td>[^<]*/postfork%.lua</td><td>3</td><td>ok 3</td>")
  end)

  it("is of the moment of the request: a killed worker and the one in its place", function()
    local server = django {}
    toolbar.assert_shows_all(server, panel_getter(server))
    local victim = server:children()[2]
    signal.kill(victim, signal.SIGKILL)
    support.eventually("the panel shows how it ended", function()
      local _, panel = page_of(server)
      return toolbar.processes(panel)[victim] == "worker exited, signal 9", panel
    end)
    toolbar.assert_shows_all(server, panel_getter(server))
  end)

  it("escapes names and error texts", function()
    local server = django { hooks = { ["hostile.lua"] = toolbar.HOSTILE } }
    toolbar.assert_escaped(toolbar.assert_shows_all(server, panel_getter(server)))
  end)

  it("says in one line that there is no library", function()
    local package = support.without_line(support.paths.python, "_build%.LIBRARY, os%.RTLD_NOW")
    local _, panel = page_of(django { package = package })
    local lines = lines_in(panel)
    assert.equal(1, #lines, panel)
    assert.truthy(lines[1]:find "^libforksafe cannot be loaded: ")
    assert.is_nil(panel:find "<h4>")
  end)

  it("says in one line that there is no journal", function()
    local _, panel = page_of(django { env = { FORKSAFE_INI = false } })
    assert.same({ "There is no journal in this process: forksafe is not open here." }, lines_in(panel))
    assert.is_nil(panel:find "<h4>")
  end)
end)

describe("the panel's rendering", function()
  local object

  -- What a program in Python prints that has the panel's module, and JSON of its own on standard input.
  local function render(program, document)
    return support.must_run {
      "/usr/bin/python3", "-c", "import json, sys\nfrom forksafe import _panel\n" .. program,
      env = { PYTHONPATH = support.paths.python }, stdin = cjson.encode(document),
    }
  end

  lazy_setup(function()
    local directory = support.tmpdir()
    support.write(directory .. "/hooks/postfork.lua", "return function() error 'no' end\n")
    local ini = support.write(directory .. "/production.ini", "[app:main]\nuse = egg:site\nforksafe.scripts = %(here)s/hooks\n")
    object = cjson.decode(support.run({ support.paths.command, "test", "--debug", ini }).stdout)
    assert.truthy(object.processes[1].error:find "no")
  end)

  it("escapes every text and every number of a debug object", function()
    local markup = "<b class='evil' id=\"e\">&"
    local count = 0
    local function spoil(value)
      if type(value) ~= "table" then
        count = count + 1
        return markup
      end
      local spoilt = {}
      for key, inner in pairs(value) do
        spoilt[type(key) == "string" and key or #spoilt + 1] = spoil(inner)
      end
      return spoilt
    end
    local page = render("print(_panel.render(json.load(sys.stdin)))", spoil(object))
    assert.is_true(count > 100)
    assert.is_nil(page:find("evil'", 1, true))
    assert.is_nil(page:find("<b ", 1, true))
    assert.is_true(select(2, page:gsub("<td>&lt;b class=&#x27;evil&#x27; id=&quot;e&quot;&gt;&amp;</td>", "")) > 20)
  end)

  it("takes any document, and never raises", function()
    local program = [==[
document = json.load(sys.stdin)
worst = [None, True, 10 ** 30, 1e308, float("nan"), "", "\udc80\x00", [], {}, [None], [[]], [{}], ["x"], {"x": {}}]
count = 0

def spoil(container):
    global count
    for key in list(container) if isinstance(container, dict) else range(len(container)):
        kept = container[key]
        for value in worst:
            container[key] = value
            _panel.journal = lambda: document
            summary, content = _panel.snapshot()
            content.encode()
            assert content.startswith("<div class='forksafe-panel'>"), content
            count += 1
        container[key] = kept
        if isinstance(kept, (dict, list)) and len(kept) < 50:
            spoil(kept)

spoil(document)
for value in worst:
    _panel.journal = lambda: value
    assert len(_panel.snapshot()) == 2
print(count)
]==]
    assert.is_true(tonumber(render(program, object)) > 1000)
  end)

  it("is bounded, and says how much is not shown", function()
    local records = {}
    for i = 1, 5000 do
      records[i] = { at = "t" .. i, pid = i }
    end
    local page = render("print(_panel.render(json.load(sys.stdin)))", { records = records, hooks = {}, processes = records })
    assert.is_true(#page < 100000)
    assert.truthy(page:find("<td>t5000</td>", 1, true))
    assert.is_nil(page:find("<td>t4950</td>", 1, true))
    assert.truthy(page:find("<p>4950 more are not shown.</p>", 1, true))
    assert.truthy(page:find("<p>4800 more are not shown.</p>", 1, true))
  end)
end)
