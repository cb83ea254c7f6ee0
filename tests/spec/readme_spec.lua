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
  it("has every event, with its script and process", function()
    local events = 0
    for name, file, process, meaning in source("runtime/include/forksafe/events.h")
      :gmatch 'X%([%u_]+, "(%w+)", "(%l+)", "([%l ]+)",[%s\\]+"([^"]+)"' do
      events = events + 1
      assert.truthy(readme:find(("\n| %s (`%s.lua`) | %s | %s |\n"):format(name, file, process, meaning), 1, true), name)
    end
    assert.equal(8, events)
  end)

  for folder, sources in pairs {
    ["prefork"] = { "adapters/prefork/prefork.h", "adapters/prefork/master.c", "adapters/prefork/cmd_prefork.c" },
    ["uwsgi"] = { "adapters/uwsgi/forksafe_plugin.c" },
    ["python gunicorn"] = { "adapters/python/forksafe/containers/gunicorn.py" },
    ["python Celery"] = { "adapters/python/forksafe/containers/celery.py" },
    ["nginx"] = { "adapters/nginx/ngx_forksafe_module.c" },
    ["apache"] = { "adapters/apache/mod_forksafe.c" },
    ["ruby Puma"] = { "adapters/ruby/lib/forksafe/puma.rb" },
    ["ruby Unicorn"] = { "adapters/ruby/lib/forksafe/unicorn.rb" },
    ["preload"] = { "adapters/preload/host.c" },
  } do
    it("has the fork points of " .. folder .. " as its adapter lists them", function()
      local place, title = folder:match "^(%l+) ?(%a*)$"
      local row = readme:match(("\n| %%[[^]\n]*%s[^]\n]*%%]%%(adapters/%s/README.md%%)[^|\n]*|([^\n]+)"):format(title, place))
      assert.truthy(row, folder)
      local text, cells = "", 0
      for _, path in ipairs(sources) do
        text = text .. source(path)
      end
      for cell in row:gmatch "([^|]+)|" do
        cells = cells + 1
        local hook = cell:match "`([%w_]+)`"
        assert.truthy(hook or cell:find "none", cell)
        assert.truthy(not hook or text:find('"' .. hook .. '"', 1, true), tostring(hook))
      end
      assert.equal(8, cells)
    end)
  end

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
