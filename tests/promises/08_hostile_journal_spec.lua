-- SPDX-License-Identifier: MIT
--
-- Promise 8: a hostile or truncated journal never kills a reader. The journal of a real server, cut at every offset, and bent in every way;
-- read by the library as the commands do. A reader that dies, hangs, or answers neither an object nor a line is the failure.
-- journal_spec.lua has the headers that lie and the scribbler, serve_spec.lua the same for `forksafe serve`.
local ffi = require "ffi"
local cjson = require "cjson"
local prefork = require "containers.prefork_server"
local journal = require "support.journal"
local promises = require "support.promises"
local support = require "support"

ffi.cdef "int truncate(const char *path, long length);"

local OFFSETS = promises.number(700, 1000000) -- beyond the first 512 bytes; more than there are is all of them
local CORRUPT = promises.number(2000, 100000)

-- The journal of a server with failing hooks, a reload and a killed worker, when it has ended: small, and something in every part.
local function sample()
  local server = prefork.start { workers = 2, keys = { "max_workers = 4", "records = 8" },
    hooks = { ["postfork.lua"] = "return function(event) error('broken in ' .. event.pid) end" } }
  prefork.wait_said(server, "PostWorkerInit", 2)
  server:signal "HUP"
  prefork.wait_said(server, "PostWorkerInit", 4)
  local path = support.debug(server.ini).masters[1].journal
  assert.equal(0, prefork.finish(server))
  return support.read(path)
end

-- Reads `count` files, each made by prepare(i), in a process of its own that must come through; how many were objects and lines.
local function read_all(count, prepare)
  local results = support.tmpdir() .. "/results"
  journal.done(function()
    local objects, lines = 0, 0
    for i = 1, count do
      local text, line, code = journal.read_text(prepare(i))
      assert(text and cjson.decode(text).schema == "forksafe.debug/1" or #line > 0 and not line:find "\n" and code < 0, i)
      objects, lines = objects + (text and 1 or 0), lines + (text and 0 or 1)
    end
    support.write(results, ("%d %d"):format(objects, lines))
  end)
  local objects, lines = support.read(results):match "^(%d+) (%d+)$"
  return tonumber(objects), tonumber(lines)
end

describe("promise 8: a reader of a real server's journal", function()
  local text, copy

  lazy_setup(function()
    text = sample()
    copy = support.tmpdir() .. "/copy.journal"
  end)

  promises.it(8, "library", "comes through truncation at every offset", function()
    local rest = math.min(OFFSETS, #text - 512)
    support.write(copy, text)
    local objects, lines = read_all(512 + rest, function(i) -- shorter each time
      local left = 512 + rest - i
      assert(ffi.C.truncate(copy, left < 512 and left or 512 + math.floor((left - 512) * (#text - 512) / rest)) == 0)
      return copy
    end)
    assert.same({ 0, 512 + rest }, { objects, lines })
  end)

  promises.it(8, "library", ("comes through %d corrupt files"):format(CORRUPT), function()
    local values = { "\0\0\0\0\0\0\0\0", "\255\255\255\255\255\255\255\255", "\1\0\0\0\0\0\0\128", "\0\16\0\0", "\255", "\255\255\255\127", "\27[2J" }
    local tables = 40000 -- where the tables and the status are
    support.write(copy, text)
    local file, bent = assert(io.open(copy, "r+b")), {}
    local function put(at, bytes)
      file:seek("set", at)
      file:write(bytes)
    end
    local objects, lines = read_all(CORRUPT, function(i)
      for at, length in pairs(bent) do
        put(at, text:sub(at + 1, at + length))
      end
      bent = {}
      for _ = 1, math.random(8) do
        local value = math.random() < 0.7 and values[math.random(#values)] or string.char(math.random(0, 255), math.random(0, 255))
        local at = math.random(({ 340, tables, #text })[i % 3 + 1] - 8)
        put(at, value)
        bent[at] = math.max(bent[at] or 0, #value)
      end
      file:flush()
      return copy
    end)
    file:close()
    assert.is_true(objects > CORRUPT / 10 and lines > CORRUPT / 10, objects .. " objects, " .. lines .. " lines")
  end)

  promises.it(8, "library", "comes through another who copies pieces of it over others all the time", function()
    support.write(copy, text)
    journal.child(function()
      local file = assert(io.open(copy, "r+b"))
      file:setvbuf "no"
      while true do
        local from, length = math.random(#text - 64), math.random(64)
        file:seek("set", math.random(16, #text - 64))
        file:write(text:sub(from, from + length))
        if math.random(50) == 1 then
          file:seek("set", 0)
          file:write(text)
        end
      end
    end)
    local objects, lines = read_all(promises.number(1000, 100000), function()
      return copy
    end)
    assert.is_true(objects > 0, objects .. " objects, " .. lines .. " lines")
  end)
end)

