-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.pycryptodome": Random.atfork() of PyCryptodome, in both of its names, and of PyCrypto, whose generator
-- repeats itself in every worker without it. PyCryptodome's own asks the kernel each time; there it does no harm.
local recipe = require "forksafe.recipe"

local SOURCE = [[
def repair_pycryptodome():
    modules = [sys.modules.get(name) for name in ("Crypto.Random", "Cryptodome.Random")]
    modules = [module for module in modules if module is not None]
    for module in modules:
        module.atfork()
    return len(modules) or None
]]

return recipe.subscribe {
  name = "pycryptodome",
  what = "generators told of the fork",
  repair = function()
    return recipe.python(SOURCE, "repair_pycryptodome()")
  end,
}
