-- SPDX-License-Identifier: MIT
--
-- A site with a debug toolbar behind gunicorn with 3 workers, and what is expected of forksafe's panel in its pages. The
-- specs of the panels differ in whose toolbar it is. Runs in the test process.
local assert = require "luassert"
local files = require "support.files"
local http = require "support.http"
local paths = require "support.paths"
local process = require "support.process"
local wait = require "support.wait"

local M = {}

local CONFIG = "from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init, child_exit\n"

-- A subscriber whose name and error are markup, an escape sequence and a mark that turns the direction of writing.
M.HOSTILE = [[
forksafe.subscribe("ApplicationPostFork", function() error "</pre></style><img src=x onerror='alert(\"1\")'>\226\128\174\27[31m" end,
  { name = "<script>alert(1)</script>" })
]]

--- Starts gunicorn with 3 workers for a site of tests/data/toolbar: t.python (the interpreter), t.app ("module:application") or t.keys
--- (lines of [app:main], which it serves then), t.hooks (text by file name), t.package, t.env.
---@param t table
---@return table process with `port` and `ini`
function M.start(t)
  local directory, port = files.tmpdir(), http.free_port()
  files.write(directory .. "/hooks/postfork.lua", "return function() end\n")
  for name, text in pairs(t.hooks or {}) do
    files.write(directory .. "/hooks/" .. name, text)
  end
  files.write(directory .. "/config.py", CONFIG)
  local ini = files.write(directory .. "/production.ini", "[app:main]\nforksafe.scripts = %(here)s/hooks\n" .. (t.keys or "use = egg:site"))
  local argv = {
    t.python or "/usr/bin/python3", "-m", "gunicorn", "--config", "config.py", "--workers", "3", "--bind", "127.0.0.1:" .. port,
    cwd = directory, env = { PYTHONPATH = (t.package or paths.python) .. ":" .. paths.data .. "/toolbar", FORKSAFE_INI = t.app and ini },
  }
  for name, value in pairs(t.env or {}) do
    argv.env[name] = value
  end
  for _, argument in ipairs(t.app and { t.app } or { "--paste", "production.ini" }) do
    table.insert(argv, argument)
  end
  local server = process.spawn(argv)
  server.port, server.ini = port, ini
  return server
end

--- The panel's HTML in a page; nil where there is none.
---@param page string
---@return string?
function M.panel_of(page)
  return page:match "<div class='forksafe%-panel'>.-</div>"
end

--- { [pid] = "worker ready" } of each process that the panel shows: its role and state.
---@param panel string
---@return table<integer, string>
function M.processes(panel)
  local found = {}
  local rows = panel:match "<h4>Processes</h4>(.-)</table>" or ""
  for pid, role, state in rows:gmatch "<tr><td>(%d+)</td><td>(%l+)</td><td>%d*</td><td>([^<]*)</td>" do
    found[tonumber(pid)] = role .. " " .. state
  end
  return found
end

--- Waits until three workers are ready in the panel, and asserts that they are the master's children.
---@param server table
---@param get fun(): string? HTML of a panel, from whichever worker answers
---@return string panel
function M.assert_shows_all(server, get)
  local panel
  local workers = wait.eventually("three workers are ready in the panel", function()
    panel = get()
    local ready = {}
    for pid, text in pairs(panel and M.processes(panel) or {}) do
      table.insert(ready, text == "worker ready" and pid or nil)
    end
    table.sort(ready)
    return #ready == 3 and ready, panel or server:output()
  end, 20)
  assert.same(server:children(), workers)
  assert.truthy(M.processes(panel)[server.pid]:find "^master ", "and the master")
  return panel
end

--- Asserts that what M.HOSTILE recorded is shown, and nowhere as markup.
---@param panel string
function M.assert_escaped(panel)
  assert.is_nil(panel:lower():find("<script", 1, true))
  assert.is_nil(panel:lower():find("<img", 1, true))
  assert.is_nil(panel:find "\226\128\174")
  assert.is_nil(panel:find "\27")
  assert.truthy(panel:find("<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>", 1, true))
  assert.truthy(panel:find("&lt;/pre&gt;&lt;/style&gt;&lt;img src=x onerror=&#x27;alert(&quot;1&quot;)&#x27;&gt;\\u202e\\u001b[31m", 1, true))
end

return M
