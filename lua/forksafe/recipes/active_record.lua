-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.active_record": discards every connection pool of ActiveRecord (6.1 and later) that came along through the
-- fork; a discarded connection is let go of without a word to the server. ActiveRecord does it by itself where Ruby forks; then
-- there is nothing left to repair.
local recipe = require "forksafe.recipe"

local SOURCE = [[
if defined?(::ActiveRecord::ConnectionAdapters::PoolConfig)
  pools = ObjectSpace.each_object(::ActiveRecord::ConnectionAdapters::ConnectionPool).select do |pool|
    !pool.discarded? && pool.connections.any?
  end
  ::ActiveRecord::ConnectionAdapters::PoolConfig.discard_pools!
  pools.count(&:discarded?)
end
]]

return recipe.subscribe {
  name = "active_record",
  what = "connection pools discarded",
  repair = function()
    return forksafe.ruby.eval(SOURCE)
  end,
}
