-- SPDX-License-Identifier: MIT
--
-- Promise 16: no output injection. Names and error texts with markup, terminal escapes, direction marks, NUL and bad UTF-8, in a real
-- server: what a terminal is shown has none of them raw, JSON and metrics can be read back, and the page may load nothing from elsewhere.
-- page_spec.lua has the same in a browser.
local cjson = require "cjson"
local prefork = require "containers.prefork_server"
local promises = require "support.promises"
local serve = require "support.serve"
local support = require "support"

local HOSTILE = {
  "<script>alert(1)</script>", "\27[2J\27]0;title\7", "\226\128\174txt.exe\226\128\172", "a\0b", "\255\254\128", "\194\155 31m",
  "\"} 1\nforksafe_fake{x=\"", "\r\nX-Injected: yes", "\226\129\166isolated\226\129\169", "\216\156mark", "'; --", "%s%n", "\127\8\8",
}

local function hooks()
  local lines = {}
  for i, text in ipairs(HOSTILE) do
    table.insert(lines, ("forksafe.subscribe('ApplicationPostFork', function() error(%q) end, { name = %q })"):format("e" .. text, i .. text))
  end
  return { ["hostile.lua"] = (table.concat(lines, "\n"):gsub("%z", "\\0")) }
end

-- What a terminal would act on, or what hides what is there.
local function assert_harmless(text, what)
  assert.is_nil(text:find "[%z\1-\8\11-\31\127]", what .. " has a control character")
  assert.is_nil(text:find "\194[\128-\159]", what .. " has a C1 control")
  for _, mark in ipairs { "\226\128[\142\143\170-\174]", "\226\129[\166-\169]", "\216\156" } do
    assert.is_nil(text:find(mark), what .. " has a direction mark")
  end
  local checked = support.run { support.paths.interpreter, "-c", "import sys; sys.stdin.buffer.read().decode('utf-8')", stdin = text }
  assert.equal(0, checked.code, what .. " is not UTF-8")
end

describe("promise 16: hostile names and texts", function()
  local server

  lazy_setup(function()
    server = prefork.start { hooks = hooks() }
    prefork.wait_said(server, "PostWorkerInit")
  end)

  for _, arguments in ipairs { { "ps" }, { "ps", "--all" }, { "log" }, { "repl", "-e", "debug_state.subscribers" }, { "repl", "-e", "debug_state.processes" } } do
    promises.it(16, "library", "are shown harmless by forksafe " .. table.concat(arguments, " "), function()
      local argv = { support.paths.command, unpack(arguments) }
      table.insert(argv, server.ini)
      local text = support.run(argv).output
      assert.is_true(#text > 100)
      assert_harmless(text, "forksafe " .. arguments[1])
    end)
  end

  promises.it(16, "library", "are whole in the JSON, which has no raw control character", function()
    local text = support.must_run { support.paths.command, "debug", server.ini }
    assert.is_nil(text:find "[%z\1-\9\11-\31\127]")
    local names = {}
    for _, one in ipairs(cjson.decode(text).subscribers) do
      names[one.name] = true
    end
    for _, i in ipairs { 1, 2, 3, 7, 8, 9, 11, 12 } do
      assert.is_true(names[i .. HOSTILE[i]], i .. HOSTILE[i])
    end
  end)

  promises.it(16, "library", "make no line of metrics of their own", function()
    local text = support.must_run { support.paths.command, "debug", "--metrics", server.ini }
    for line in text:gmatch "[^\n]+" do
      assert.truthy(line:find "^#" or line:find "^forksafe_[%w_]+[{ ]", line)
      assert.is_nil(line:find "^forksafe_fake")
    end
  end)

  promises.it(16, "library", "stay in their place in the answers of forksafe serve, whose policy is none but its own", function()
    local web = serve.start { server.ini }
    for _, path in ipairs { "/", "/debug.json", "/metrics", "/instances.json", "/<script>alert(1)</script>", "/%0d%0aX-Injected:%20yes" } do
      local _, body, headers = serve.request(web, "GET", path)
      assert.is_nil(headers["x-injected"])
      assert.equal("nosniff", headers["x-content-type-options"], path)
      assert.truthy(headers["content-security-policy"]:find("default-src 'none'", 1, true), path)
      if not (headers["content-type"] or ""):find("json", 1, true) and path ~= "/metrics" then
        assert.is_nil(body:find("<script>alert", 1, true), path)
      end
    end
  end)
end)
