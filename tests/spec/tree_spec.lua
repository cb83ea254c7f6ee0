-- SPDX-License-Identifier: MIT
--
-- The house is in order: what lies at the top of the tree, what each source starts with, and no trace of the machine
-- that it was written on.
local support = require "support"

local root = support.paths.root

-- Files of the project: those git knows and those it would add.
local function project_files()
  local listing = support.must_run {
    "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd = root,
  }
  local list = {}
  for path in listing:gmatch "[^%z]+" do
    if support.read(root .. "/" .. path) then
      table.insert(list, path)
    end
  end
  return list
end

describe("the source tree", function()
  it("has only the agreed names at its top", function()
    local allowed = {
      ["runtime"] = true, ["lua"] = true, ["adapters"] = true, ["tests"] = true, ["examples"] = true,
      ["CMakeLists.txt"] = true, ["README.md"] = true, ["LICENSE"] = true,
    }
    for _, path in ipairs(project_files()) do
      local top = path:match "^[^/]+"
      assert.truthy(allowed[top] or top:find "^%.", top .. " does not belong at the top (" .. path .. ")")
    end
  end)

  it("names no path of the machine it was written on", function()
    local places = { "/" .. "work/", "/" .. "tmp/build" } -- spelled so that this file does not match
    for _, path in ipairs(project_files()) do
      local text = support.read(root .. "/" .. path)
      for _, place in ipairs(places) do
        assert.is_nil(text:find(place, 1, true), path .. " has the path " .. place)
      end
    end
  end)

  -- An example's own files and recorded data are shown as users and other programs write them.
  local function is_source(path)
    local suffix = path:match "%.(%w+)$"
    return ("c h lua sh py"):find(suffix or "none", 1, true)
      and not path:find "^examples/[^/]+/" and not path:find "^tests/data/"
  end

  it("states the licence at the start of each source", function()
    for _, path in ipairs(project_files()) do
      if is_source(path) then
        local start = support.read(root .. "/" .. path):sub(1, 200)
        assert.truthy(start:find("SPDX-License-Identifier: MIT", 1, true), path .. " has no SPDX line")
      end
    end
  end)
end)
