-- SPDX-License-Identifier: MIT
--
-- forksafe's panel in the newest toolbars of PyPI, fetched over HTTP from gunicorn with 3 workers: pyramid_debugtoolbar, which
-- Debian has not, and django-debug-toolbar, which it has in an old version. tests/run.sh --newest makes the environment.
local signal = require "posix.signal"
local support = require "support"
local toolbar = require "support.toolbar"

local PYTHON = support.paths.newest .. "/bin/python"

local INCLUDES = "use = call:pyramid_site:main\npyramid.includes = pyramid_debugtoolbar\ndebugtoolbar.includes = forksafe.debugtoolbar\n"
local MULTIPROCESS = "debugtoolbar.forksafe_multiprocess = true\n"

local function pyramid(t)
  t.python, t.keys = PYTHON, INCLUDES .. (t.keys or MULTIPROCESS)
  return toolbar.start(t)
end

-- The toolbar's page that belongs to a page of the site, a new one unless it is given. Each worker knows those that it answered itself: ask until it does.
local function toolbar_page(server, page)
  page = page or support.http_wait(server.port, "/", 20)
  local path = assert(page:match "/_debug_toolbar/%x+", page)
  return support.eventually("the worker that made the page answers", function()
    local _, html = support.http_get(server.port, path)
    return html:find("pDebugPanel-forksafe", 1, true) and html
  end)
end

local function panel_getter(server)
  return function()
    return toolbar.panel_of(toolbar_page(server))
  end
end

describe("the panel in pyramid_debugtoolbar", function()
  it("shows all three workers, on whichever worker's page", function()
    local server = pyramid {}
    toolbar.assert_shows_all(server, panel_getter(server))
    local html = toolbar_page(server)
    assert.truthy(html:find "<small>3 workers</small>")
  end)

  it("keeps what was so at the request", function()
    local server = pyramid {}
    toolbar.assert_shows_all(server, panel_getter(server))
    local page = support.http_wait(server.port, "/")
    local victim
    for _, pid in ipairs(server:children()) do
      victim = pid ~= tonumber(page:match "page of (%d+)") and pid or victim
    end
    signal.kill(victim, signal.SIGKILL)
    support.eventually("it is gone", function()
      return not support.alive(victim)
    end)
    assert.equal("worker ready", toolbar.processes(toolbar.panel_of(toolbar_page(server, page)))[victim])
    toolbar.assert_shows_all(server, panel_getter(server))
  end)

  it("escapes names and error texts", function()
    local server = pyramid { hooks = { ["hostile.lua"] = toolbar.HOSTILE } }
    toolbar.assert_escaped(toolbar.assert_shows_all(server, panel_getter(server)))
    assert.truthy(toolbar_page(server):find "<small>3 workers, 3 failed</small>")
  end)

  it("says in one line that there is no library", function()
    local server = pyramid { package = support.without_line(support.paths.python, "_build%.LIBRARY, os%.RTLD_NOW") }
    local panel = toolbar.panel_of(toolbar_page(server))
    assert.equal(1, select(2, panel:gsub("<p>libforksafe cannot be loaded: [^<]*</p>", "")))
    assert.is_nil(panel:find "<h4>")
  end)

  it("leaves the toolbar to itself where the ini does not ask for more", function()
    local server = pyramid { keys = "" }
    local page = support.http_wait(server.port, "/", 20)
    assert.truthy(page:find "multiprocess True")
    assert.is_nil(page:find("_debug_toolbar", 1, true))
  end)
end)

describe("the panel in django-debug-toolbar", function()
  it("shows all three workers", function()
    local server = toolbar.start { python = PYTHON, app = "django_site:application", hooks = { ["hostile.lua"] = toolbar.HOSTILE } }
    local panel = toolbar.assert_shows_all(server, function()
      return toolbar.panel_of(support.http_wait(server.port, "/", 20))
    end)
    toolbar.assert_escaped(panel)
  end)

  it("is kept by the toolbar for a page of its own", function()
    local server = toolbar.start { python = PYTHON, app = "django_site:application", env = { TOOLBAR_RENDERS = "later" } }
    toolbar.assert_shows_all(server, function()
      local page = support.http_wait(server.port, "/", 20)
      local id = assert(page:match 'data%-request%-id="(%x+)"', page)
      local status, body = support.http_get(server.port, "/__debug__/render_panel/?panel_id=ForksafePanel&request_id=" .. id)
      local html = body:match '"content": "(.*)", "scripts"'
      return status == 200 and html and toolbar.panel_of((html:gsub("\\n", "\n"):gsub('\\"', '"')))
    end)
  end)
end)
