-- SPDX-License-Identifier: MIT
--
-- Scenario 6: an epoll set and a wake-up pipe of the worker's own.
return function(event)
  event.process:unshare { "socketpair", "epoll" }
end
