-- SPDX-License-Identifier: MIT
--
-- One line in the log for each event, in the process in which it ran.
local EVENTS = { "MasterReady", "PreFork", "PostFork", "PostWorkerInit", "WorkerExit", "ChildExit", "Reload", "Shutdown" }

for _, name in ipairs(EVENTS) do
  forksafe.subscribe("Application" .. name, function(event)
    local child = event.child or {}
    forksafe.log.info("%s pid=%d worker=%s role=%s generation=%d forked=%s loaded=%s child=%s/%s/%s.", name, event.pid, event.worker,
      event.role, event.generation, event.forked, event.app_loaded, child.pid, child.exit, child.signal)
  end, { name = "say " .. name })
end
