-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.django": every database connection that was open at the fork is let go of in the worker, and opened
-- anew when it is next used. connections.close_all() would end the parent's sessions.
local recipe = require "forksafe.recipe"

local SOURCE = [[
def repair_django():
    base = sys.modules.get("django.db.backends.base.base")
    if base is None:
        return None
    count = 0
    for wrapper in recipe_instances(base.BaseDatabaseWrapper):
        if wrapper.vendor == "sqlite" and wrapper.is_in_memory_db():  # its connection is its data
            continue
        pools = getattr(wrapper, "_connection_pools", {})  # of Django 5.1 and later, by alias
        recipe_kept.append((wrapper.connection, pools.pop(wrapper.alias, None)))
        if recipe_kept[-1] != (None, None):
            count += 1
        wrapper.connection = None
    return count
]]

return recipe.subscribe {
  name = "django",
  what = "database connections let go of",
  repair = function()
    return recipe.python(SOURCE, "repair_django()")
  end,
}
