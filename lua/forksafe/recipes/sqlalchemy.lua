-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.sqlalchemy": every engine of the worker gets a new, empty pool. The connections that the pool
-- had stay the parent's: they are let go of, not closed, since closing one would end the parent's session. An SQLite in memory is
-- left alone: its connection is its data.
local recipe = require "forksafe.recipe"

local SOURCE = [[
def recipe_is_memory(engine):
    return engine.dialect.name == "sqlite" and engine.url.database in (None, "", ":memory:")


def repair_sqlalchemy():
    base = sys.modules.get("sqlalchemy.engine.base")
    if base is None:
        return None
    engines = {id(engine.pool): engine for engine in recipe_instances(base.Engine) if not recipe_is_memory(engine)}
    recipe_kept.extend(engine.pool for engine in engines.values())
    for engine in engines.values():
        engine.pool = engine.pool.recreate()  # dispose(close=False), which 1.4.33 brought
    return len(engines)
]]

return recipe.subscribe {
  name = "sqlalchemy",
  what = "engines with a pool of their own",
  repair = function()
    return recipe.python(SOURCE, "repair_sqlalchemy()")
  end,
}
