-- SPDX-License-Identifier: MIT
--
-- Scenario 5: a lock that nobody holds.
return function()
  forksafe.python.exec "import lock_app, threading; lock_app.lock = threading.Lock()"
end
