-- SPDX-License-Identifier: MIT
--
-- An application that was written for pyramid_forksafe, as it is under pyramid_forksafe of PyPI and with the changed names under forksafe:
-- both tell it of the same events, in the same order, in the same processes.
local pyramid = require "support.pyramid"
local support = require "support"

local PYTHON = support.paths.newest .. "/bin/python"

-- What the workers were told, each as "PreFork PreFork PostFork", sorted.
local function told(t, change)
  local list = {}
  local server = pyramid.start { server = t.server, arguments = t.arguments, change = change, python = PYTHON }
  for _, answer in pairs(pyramid.answers(server)) do
    local names = {}
    for _, entry in ipairs(answer.told) do
      assert.equal(entry[1] == "ApplicationPreFork" and server.pid or answer.pid, entry[2])
      table.insert(names, entry[1])
    end
    table.insert(list, table.concat(names, " "))
  end
  table.sort(list)
  server:stop()
  return list
end

local rows = {
  { name = "gunicorn --preload", server = "gunicorn", arguments = { "--preload" } },
  { name = "uWSGI", server = "uwsgi", arguments = { "--master", "--virtualenv", support.paths.newest } },
}

describe("forksafe tells an application what pyramid_forksafe tells it", function()
  for _, row in ipairs(rows) do
    it("under " .. row.name, function()
      local theirs = told(row, pyramid.unchanged)
      assert.truthy(theirs[3]:find "ApplicationPostFork")
      assert.same(theirs, told(row, pyramid.migrated))
    end)
  end
end)
