-- SPDX-License-Identifier: MIT
--
-- What ends and removes things: every process and directory that a test makes registers how to undo it here.
-- helper.lua opens a scope for each test; what is made outside a test (setup, lazy_setup) belongs to the file.
local M = {}

local scopes = { {} }

--- Runs `undo` when the present scope ends; the newest first.
---@param undo fun()
function M.defer(undo)
  table.insert(scopes[#scopes], undo)
end

function M.enter()
  table.insert(scopes, {})
end

--- Ends the present scope. All of its undoing runs; then the first error is thrown.
function M.leave()
  local scope, first = scopes[#scopes], nil
  if #scopes > 1 then
    scopes[#scopes] = nil
  else
    scopes[1] = {}
  end
  for i = #scope, 1, -1 do
    local ok, message = pcall(scope[i])
    if not ok then
      first = first or message
    end
  end
  if first then
    error(first, 0)
  end
end

--- Ends all scopes: for programs that use this library without busted.
function M.cleanup()
  while #scopes > 1 do
    M.leave()
  end
  M.leave()
end

--- The value `name` of the outermost scope that has one; else `make()`, kept in the present scope.
---@param name string
---@param make fun(): any
function M.shared(name, make)
  for _, scope in ipairs(scopes) do
    if scope[name] ~= nil then
      return scope[name]
    end
  end
  local scope = scopes[#scopes]
  scope[name] = make()
  return scope[name]
end

return M
