-- SPDX-License-Identifier: MIT
--
-- The worker's copy of the master's connection becomes a dead one: the library sees a clean disconnect, and connects anew.
return function(event)
  event.process:quarantine { peer = ":" .. event.registry.settings["db.port"] }
end
