-- SPDX-License-Identifier: MIT
return function(event)
  assert(event.name == "ApplicationShutdown")
end
