-- SPDX-License-Identifier: MIT
--
-- Scenarios 1 and 2: SQLAlchemy's own remedy.
return function()
  local _, why = forksafe.python.call("database_app:engine.dispose", { close = false })
  assert(not why, why)
end
