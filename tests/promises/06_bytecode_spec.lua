-- SPDX-License-Identifier: MIT
--
-- Promise 6: bytecode is refused. string.dump's own and mutated chunks of it, through every way in which forksafe loads Lua: a script, a
-- module, load and loadstring in a hook, a worker script, the REPL. LuaJIT does not check bytecode: one that ran could do anything.
local prefork = require "containers.prefork_server"
local promises = require "support.promises"
local scripts = require "support.scripts"
local support = require "support"

local CHUNKS = promises.number(400, 10000)
local BATCH = 400

-- Real bytecode, stripped or not, that says when it runs.
local function dump(strip)
  return string.dump(assert(loadstring "forksafe.log.info('bytecode ran') return function() forksafe.log.info('bytecode ran') end"), strip)
end

-- The n'th chunk: bytecode with some bytes changed behind its signature, cut, or with something in front.
local function chunk(n)
  local code = dump(n % 2 == 0)
  local kind = n % 8
  if kind == 0 then
    return code
  elseif kind == 1 then
    return "#!/usr/bin/luajit\n" .. code
  elseif kind == 2 then
    return "\239\187\191" .. code
  elseif kind == 3 then
    return code:sub(1, math.random(#code))
  end
  for _ = 1, math.random(6) do
    local at = math.random(2, #code)
    code = code:sub(1, at - 1) .. string.char(math.random(0, 255)) .. code:sub(at + 1)
  end
  return code
end

local function quoted(text)
  return '"' .. text:gsub(".", function(c)
    return ("\\%03d"):format(c:byte())
  end) .. '"'
end

local function assert_refused(result, count)
  assert.is_nil(result.signal)
  assert.equal(1, result.code, result.output)
  assert.is_nil(result.output:find("bytecode ran", 1, true))
  local lines = select(2, result.stderr:gsub("forksafe%[[%w.-]+%]: [^\n]*/hooks/b[^\n]*: [^\n]+", ""))
  assert.equal(count, lines, result.stderr:sub(1, 3000))
end

describe("promise 6: bytecode", function()
  promises.it(6, "library", ("is refused as a script, %d chunks, each with a line"):format(CHUNKS), function()
    for first = 1, CHUNKS, BATCH do
      local texts = { ["z.postfork.lua"] = "return function() end" }
      for n = first, first + BATCH - 1 do
        texts[("b%d.postfork.lua"):format(n)] = chunk(n)
      end
      local result = scripts.test(texts, "forksafe.instance = bytecode\n", { "--event", "postfork", timeout = 60 })
      result.stderr = result.stderr:gsub("stack traceback:.-\n(forksafe%[[%w.-]+%]: /)", "\n%1")
      assert_refused(result, BATCH)
      assert.same({ "z.postfork=ok" }, scripts.outcomes(result))
    end
  end)

  promises.it(6, "library", "is refused as a module, and by load and loadstring in a hook, whatever mode is asked for", function()
    local texts, calls = {}, {}
    for n = 1, 200 do
      local code = chunk(n)
      texts["lib/b" .. n .. ".lua"] = code
      table.insert(calls, ("refused(pcall(require, 'lib.b%d')) code = %s"):format(n, quoted(code)))
      table.insert(calls, "for _, mode in ipairs { 'b', 't', 'bt' } do refused(load(code, '=x', mode)) end refused(load(code)) refused(loadstring(code))")
    end
    -- A function has room for 200 local variables, and a chunk for 65,536 constants.
    for i = 0, 7 do
      texts[i .. ".postfork.lua"] = "local function refused(first) assert(not first, 'it was loaded') end local code\nreturn function()\n"
        .. table.concat(calls, "\n", i * 50 + 1, i * 50 + 50) .. "\nend"
    end
    local result = scripts.test(texts, "", { "--event", "postfork" })
    assert.equal(0, result.code, result.stderr:sub(1, 3000))
    assert.equal(8, #scripts.outcomes(result))
    assert.is_nil(result.output:find("bytecode ran", 1, true))
  end)

  promises.it(6, "prefork", "is refused as a worker script, and the server says so", function()
    local ini, directory = prefork.application({}, { "worker_script = worker.lua" })
    support.write(directory .. "/worker.lua", dump())
    local server = support.spawn { support.paths.command, "prefork", "--workers", "1", ini }
    server:wait_for "worker.lua[^\n]*bytecode"
    server:stop()
    assert.is_nil(server:output():find("bytecode ran", 1, true))
  end)

  promises.it(6, "library", "is refused at the prompt of the REPL", function()
    local ini = scripts.application { ["postfork.lua"] = "return function() end" }
    support.must_run { support.paths.command, "prefork", "--workers", "1", "--once", ini }
    local result = support.run { support.paths.command, "repl", "--previous", "-e", "\27LJ\2\2", ini }
    assert.not_equal(0, result.code, result.output)
    assert.is_nil(result.signal)
  end)
end)
