-- SPDX-License-Identifier: MIT
--
-- One secret under twelve names, hooks that throw it in every way, and the search for it in all that prints. Runs in the test process.
local assert = require "luassert"
local said = require "support.server"
local serve = require "support.serve"
local support = require "support"

local M = {}

local CANARY = "c4n4ry-7f3Ab9"

-- Its names; the last four hide it: in an innocent one, in a URL, in a list, and split over lines.
local VALUES = {
  { "password", CANARY }, { "db.password", CANARY }, { "secret", CANARY }, { "session.secret", CANARY }, { "api_key", CANARY },
  { "token", CANARY }, { "aws_secret_access_key", CANARY }, { "authentication.policy.key", CANARY },
  { "colour", CANARY },
  { "sqlalchemy.url", "postgresql://shop:" .. CANARY .. "@db.example.org:5432/shop?sslmode=require" },
  { "allowed", "first " .. CANARY .. "-listed last" },
  { "private", "\n  -----BEGIN " .. CANARY .. "-----\n  " .. CANARY .. "-second-line\n  -----END-----" },
}

-- How a hook may give a value away: `s` are the settings, `v` one value.
local WAYS = {
  "error(v)", "error('cannot use ' .. v)", "error({ v })", "error(setmetatable({}, { __tostring = function() return v end }))",
  "assert(false, v)", "assert(nil, '[' .. v .. ']')", "s[v] = 1", "local none = s.nothing[v]", "error(('%q'):format(v), 0)", "error(v .. v)",
  "string.rep(v, v)", "forksafe.subscribe(v, function() end)", "require(v)", "error(v:match '[^\\n]+$')", "error(v:match ':([^:@]+)@' or v)",
  "coroutine.wrap(function() error(v) end)()", "load(v .. ' =', v)() ", "setmetatable(s, v)", "tonumber(v, v)",
}

-- Parts of a value that are as secret as all of it, and what hides it in other text: the way, and the name that it is for. What a script
-- writes to the log itself is not here: that is for it to decide.
local PARTS = {
  { "error(v:match ':([^:@]+)@')", "sqlalchemy.url" }, { "error('at ' .. v:gsub('^%w+://', ''))", "sqlalchemy.url" },
  { "error(v:match '[^\\n]+$')", "private" }, { "error(v:match '\\n([^\\n]+)\\n')", "private" }, { "error((v:gsub('\\n', ' | ')))", "private" },
  { "error(v:gsub('\\n', '\\r\\n') .. v)", "private" },
  { "error(s['colour'] .. s.password .. s.token)", "colour" },
  { "error(debug and debug.traceback and debug.traceback(v) or v)", "secret" }, { "local _, text = xpcall(error, function(e) return e .. v end, v) error(text)", "token" },
}

--- Lines for the application's section.
---@return string
function M.keys()
  local lines = {}
  for _, pair in ipairs(VALUES) do
    table.insert(lines, pair[1] .. " = " .. pair[2] .. "\n")
  end
  return "forksafe.log_level = debug\n" .. table.concat(lines)
end

--- Hooks that throw each value in each way, at PostFork.
---@return table<string, string>
function M.hooks()
  local hooks = {}
  local function add(file, name, way)
    hooks[file .. ".postfork.lua"] = ("return function(event) local s = event.registry.settings local v = s[%q] %s end"):format(name, way)
  end
  for i, way in ipairs(WAYS) do
    add(("leak-%02d"):format(i), VALUES[(i - 1) % #VALUES + 1][1], way)
  end
  for i, part in ipairs(PARTS) do
    add(("leak-part-%02d"):format(i), part[2], part[1])
  end
  local throws = {}
  for _, pair in ipairs(VALUES) do
    table.insert(throws, ("for _, f in ipairs { error, function(v) error({ v }) end } do local ok, text = pcall(f, event.registry.settings[%q]) all[#all + 1] = tostring(text) end"):format(pair[1]))
  end
  hooks["leak-all.postfork.lua"] = "return function(event) local all = {} " .. table.concat(throws, " ") .. " error(table.concat(all, '\\n')) end"
  return hooks
end

local function assert_clean(text, where)
  local at = text:find(CANARY, 1, true)
  if at then
    support.fail(("the canary is in %s: ...%s..."):format(where, text:sub(math.max(1, at - 200), at + 100)), 2)
  end
end

-- What every command says of the server.
local function search_commands(server)
  local ini = server.ini
  for _, arguments in ipairs {
    { "debug", ini }, { "debug", "--previous", ini }, { "debug", "--metrics", ini }, { "ps", "--all", ini }, { "ps", "--json", ini }, { "log", ini }, { "log", "--json", ini }, { "log", "--outcome", "error", ini },
    { "repl", "-e", "debug_state", ini }, { "repl", "-e", "debug_state.processes", "--json", ini }, { "settings", ini }, { "settings", "--json", ini },
    { "test", ini }, { "test", "--debug", ini }, { "doctor", tostring(server.pid) }, { "doctor", "--json", tostring(server.pid) },
  } do
    local result = support.run { support.paths.command, unpack(arguments) }
    assert.is_true(#result.output > 0, table.concat(arguments, " "))
    assert_clean(result.output, "forksafe " .. table.concat(arguments, " "))
  end
end

local function search_page(server)
  local web = serve.start { server.ini }
  for _, path in ipairs { "/", "/page.js", "/debug.json", "/instances.json", "/metrics" } do
    local _, body = serve.request(web, "GET", path)
    assert_clean(body, path)
  end
  local client = serve.listen(web)
  client:wait_for("hello", "hello")
  client:settle(0.2)
  for _, message in ipairs(client.messages) do
    assert_clean(message.text, "/events")
  end
  client:close()
end

--- Asserts that no output of a server that runs hooks() with keys() has the canary: its log, its journals, every command, the page.
function M.assert_nowhere(server)
  local log = said.log(server)
  assert.equal(3, said.count(log, "subscriber 'leak%-01%.postfork' failed[^\n]*"), log)
  assert.truthy(log:find("subscriber 'leak%-01%.postfork' failed: [^\n]*<password>"), log)
  assert_clean(log, "the log of the server")
  for _, path in ipairs(support.all_files(support.runtime_dir())) do
    assert_clean(support.read(path), path)
  end
  search_commands(server)
  search_page(server)
end

return M
