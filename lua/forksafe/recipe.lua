-- SPDX-License-Identifier: MIT
--
-- What all recipes (lua/forksafe/recipes/) are made of: a repair that runs in every new worker, says how many objects it
-- repaired, and takes the worker out of service where it failed, since wrong rows are worse than a restart.

local M = {}

local ORDER = 10 -- before the hooks of the application, which may use what is repaired

-- Finds objects by their class, subclasses too. Referrers of a class are its instances, and looking at them writes nothing:
-- a list of all objects would count each of them up, and with that copy the memory that workers share.
local FIND_IN_PYTHON = [[
import gc
import os
import sys

recipe_kept = globals().get("recipe_kept", [])  # what must never be finalized here: its end would be the parent's


def recipe_instances(kind):
    kinds, new = set(), [kind]
    while new:
        one = new.pop()
        if one not in kinds:
            kinds.add(one)
            new.extend(type.__subclasses__(one))
    return [found for found in gc.get_referrers(*kinds) if type(found) in kinds]
]]

---Runs `source` in the application's Python, then the value of `expression`: a number of objects, or None for a library that is
---not loaded.
---@param source string
---@param expression string
---@return integer? count
---@return string? why
function M.python(source, expression)
  local _, why = forksafe.python.exec(FIND_IN_PYTHON .. source)
  if why then
    return nil, why
  end
  return forksafe.python.eval(expression)
end

---@class forksafe.Recipe
---@field name string the last part of its module's name
---@field what string what it repairs, as its log line says it
---@field event? forksafe.EventName ApplicationPostFork
---@field on_error? forksafe.OnError retire_worker
---@field repair fun(event: forksafe.Event): integer?, string?

---Subscribes a recipe, and returns its repair, to be called by hand where an application opens things later.
---@param recipe forksafe.Recipe
---@return fun(event?: forksafe.Event): integer repaired objects
function M.subscribe(recipe)
  local function repair(event)
    local count, why = recipe.repair(event)
    if (count or 0) == 0 then
      forksafe.log.info("recipe %s: nothing to repair (%s)", recipe.name, why or (count and "none found" or "not loaded"))
      return 0
    end
    forksafe.log.info("recipe %s: %d %s", recipe.name, count, recipe.what)
    return count
  end
  forksafe.subscribe(recipe.event or "ApplicationPostFork", repair, {
    name = "recipes." .. recipe.name, order = ORDER, on_error = recipe.on_error or "retire_worker",
  })
  return repair
end

return M
