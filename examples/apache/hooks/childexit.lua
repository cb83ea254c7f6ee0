-- Runs in the master, when it has seen that a worker has ended: within a second. Apache forks the next one then.
return function(event)
  local child = event.child
  if child.signal then
    forksafe.log.warning("worker %s (process %s) was ended by signal %s", event.worker, child.pid, child.signal)
  else
    forksafe.log.info("worker %s (process %s) ended with %s", event.worker, child.pid, child.exit)
  end
end
