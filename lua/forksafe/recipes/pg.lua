-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.pg": every PG::Connection that was open at the fork connects anew in the worker. Its inherited socket is
-- first replaced by a dead one, so that the goodbye which a reset says never reaches the parent's session. Prepared statements and
-- settings of the session are gone, as after any reconnect.
local recipe = require "forksafe.recipe"

local SOURCE = [[
if defined?(::PG::Connection)
  open = ObjectSpace.each_object(::PG::Connection).select do |connection|
    !connection.finished? && connection.status == ::PG::CONNECTION_OK
  end
  open.each do |connection|
    ours, theirs = UNIXSocket.pair
    theirs.close
    IO.for_fd(connection.socket, autoclose: false).reopen(ours)
    ours.close
    connection.reset
  end
  open.size
end
]]

return recipe.subscribe {
  name = "pg",
  what = "connections reset",
  repair = function()
    return forksafe.ruby.eval("require 'socket'\n" .. SOURCE)
  end,
}
