-- SPDX-License-Identifier: MIT
--
-- Scenarios 1 to 3: the worker's copy of the master's connection is dead, and the library makes its own.
return function(event)
  event.process:quarantine { peer = ":" .. event.registry.settings["db.port"] }
end
