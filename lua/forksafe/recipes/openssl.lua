-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.openssl": OpenSSL's generator gets a fresh seed in every worker. From 1.1.1 on it sees to that
-- itself; an older one repeats the parent's numbers.
local recipe = require "forksafe.recipe"

return recipe.subscribe {
  name = "openssl",
  what = "generator with a fresh seed",
  repair = function()
    return forksafe.reseed "openssl"
  end,
}
