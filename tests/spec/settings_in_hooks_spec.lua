-- SPDX-License-Identifier: MIT
--
-- The recorded cases of the PasteDeploy loader once more, seen from inside a hook: registry.settings and registry.global_conf. The cases' inis
-- name no script directory, so that one line is put into their application sections, and taken out of what is compared.
local cjson = require "cjson"
local support = require "support"

local cases = cjson.decode(support.read(support.paths.data .. "/paste_cases.json")).cases

-- Logs both tables as hexadecimal, a pair in one line or, where it is long, in several.
local HOOK = [[
local function hex(text)
  return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end
return function(event)
  for _, name in ipairs { "settings", "global_conf" } do
    for key, value in pairs(event.registry[name]) do
      for at = 1, math.max(#value, 1), 1000 do
        forksafe.log.info("pair %s %s=%s.", name, hex(key), hex(value:sub(at, at + 999)))
      end
    end
  end
end
]]

local function unhex(text)
  return (text:gsub("%x%x", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

-- What the hook saw: { settings = {...}, global_conf = {...} }.
local function seen_by_hook(result)
  local seen = { settings = {}, global_conf = {} }
  for name, key, value in result.stderr:gmatch "pair ([%l_]+) (%x*)=(%x*)%." do
    seen[name][unhex(key)] = (seen[name][unhex(key)] or "") .. unhex(value)
  end
  seen.settings["forksafe.scripts"] = nil
  return seen
end

local function with_scripts(text, hooks)
  return (("\n" .. text):gsub("(\n[ \t]*%[[^%]\n]*:[^%]\n]*%][^\n]*\n)([ \t]*)", function(header, indent)
    if header:find "pipeline:" then
      return nil
    end
    return header .. indent .. "forksafe.scripts = " .. hooks .. "\n" .. indent
  end)):sub(2)
end

local function expected_of(case, root)
  local expected = cjson.decode((cjson.encode(case.expected):gsub("@ROOT@", (root:gsub("/", "\\/")))))
  return { settings = expected.settings, global_conf = expected.global_conf }
end

describe("inside a hook", function()
  local count = 0
  for _, case in ipairs(cases) do
    local told_beside = next(case.options) ~= nil -- NAME=VALUE pairs are for `forksafe settings` only
    local fits = not case.expected.error and not told_beside and not case.name:find "^pipeline"
    if fits then
      count = count + 1
      it("the settings of case " .. case.name .. " are the loader's", function()
        local root = support.tmpdir()
        local hooks = support.write(root .. "/hooks/postfork.lua", HOOK):match "^(.*)/"
        for name, text in pairs(case.files) do
          assert.is_nil(text:match "^b64:")
          support.write(("%s/%s/%s"):format(root, case.name, name), with_scripts(text, hooks))
        end
        local file, fragment = case.uri:match "^([^#]*)#?(.*)$"
        local app = case.app ~= cjson.null and case.app or fragment ~= "" and fragment or nil
        local result = support.run { support.paths.command, "test", "--event", "postfork",
          ("%s/%s/%s%s"):format(root, case.name, file, app and "#" .. app or ""), env = case.env }
        local seen, expected = seen_by_hook(result), expected_of(case, root)
        assert.truthy(next(seen.global_conf), result.output)
        expected.settings["forksafe.scripts"] = nil
        assert.same(expected, seen)
      end)
    end
  end

  it("nearly all of the accepted cases were seen", function()
    assert.truthy(count >= 55, count)
  end)
end)
