-- SPDX-License-Identifier: MIT
--
-- What the README lists is what the sources have: events and fork points, keys of the ini, commands.
local support = require "support"

local root = support.paths.root
local readme = support.read(root .. "/README.md")

local function source(path)
  return (assert(support.read(root .. "/" .. path), path))
end

describe("the README", function()
  it("has every event, with the fork points that the adapters list", function()
    local adapters = { source "adapters/prefork/prefork.h" .. source "adapters/prefork/master.c" .. source "adapters/prefork/cmd_prefork.c",
      source "adapters/uwsgi/forksafe_plugin.c", source "adapters/python/forksafe/containers/gunicorn.py",
      source "adapters/nginx/ngx_forksafe_module.c" }
    local events = 0
    for id, name, file, process in source("runtime/include/forksafe/events.h"):gmatch 'X%(([%u_]+), "(%w+)", "(%l+)", "([%l ]+)"' do
      events = events + 1
      local cells = readme:match("\n| " .. name .. " %(`" .. file .. "%.lua`%) | " .. process .. " |([^\n]+)")
      assert.truthy(cells, name)
      local column = 0
      for hook in cells:gmatch "`([%w_]+)`" do
        column = column + 1
        assert.truthy(adapters[column]:find('"' .. hook .. '"', 1, true), ("%s: %s"):format(name, hook))
        assert.truthy(adapters[column]:find(id, 1, true), ("%s in column %d"):format(id, column))
      end
      assert.equal(#adapters, column, name)
    end
    assert.equal(8, events)
  end)

  it("has every key of the ini, with its default", function()
    local keys = 0
    for name, default in source("runtime/core/config.h"):gmatch 'X%(([%l_]+),%s+[%l_]+,%s+"([^"]*)"' do
      keys = keys + 1
      local written = default == "" and "none" or "`" .. default .. "`"
      assert.truthy(readme:find(("\n| `%s` | %s |"):format(name, written), 1, true), name)
    end
    assert.truthy(keys >= 18)
  end)

  it("has every command that `forksafe --help` has", function()
    local help = support.run({ support.paths.command, "--help" }).stdout
    local commands = 0
    for name in help:gmatch "\n  forksafe (%l+)" do
      commands = commands + 1
      assert.truthy(readme:find("\n| `forksafe " .. name, 1, true), name)
    end
    assert.truthy(commands >= 5)
  end)
end)
