-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.random": every random.Random of Python's gets a fresh seed, the module's own too: Python sees to that
-- only where it forks itself. One that was seeded on purpose (tests, games that are replayed) is seeded anew as well.
local recipe = require "forksafe.recipe"

local SOURCE = [[
def repair_random():
    module = sys.modules.get("random")
    if module is None:
        return None
    generators = [one for one in recipe_instances(module.Random) if not isinstance(one, module.SystemRandom)]
    for generator in generators:
        generator.seed()
    return len(generators)
]]

return recipe.subscribe {
  name = "random",
  what = "generators with a fresh seed",
  repair = function()
    return recipe.python(SOURCE, "repair_random()")
  end,
}
