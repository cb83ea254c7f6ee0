-- SPDX-License-Identifier: MIT
return function(event)
  assert(event.name == "ApplicationChildExit")
end
