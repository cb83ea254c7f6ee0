-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.libc": random(), rand() and drand48() of the C library get a fresh seed in every worker: their
-- state is copied by a fork, and nothing else changes it.
local recipe = require "forksafe.recipe"

return recipe.subscribe {
  name = "libc",
  what = "generator with a fresh seed",
  repair = function()
    return forksafe.reseed "libc"
  end,
}
