-- SPDX-License-Identifier: MIT
--
-- Runs the spec of a container once more, with the newest server of PyPI in the place of Debian's: what tests/run.sh --newest has
-- installed and built. Runs in the test process; a spec file has one of its own.
local paths = require "support.paths"

local M = {}

--- Runs tests/containers/<name>_spec.lua in the calling spec file, with other values in support.paths.
---@param name string
---@param changes table<string, any>
function M.again(name, changes)
  for key, value in pairs(changes) do
    assert(paths[key] ~= nil, key)
    paths[key] = value
  end
  local spec = assert(loadfile(("%s/tests/containers/%s_spec.lua"):format(paths.root, name)))
  setfenv(spec, getfenv(2))() -- describe, it and the others are the file's
end

return M
