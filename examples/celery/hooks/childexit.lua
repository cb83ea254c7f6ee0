-- Runs in the master when a process of the pool has ended, before the next one is forked. 155 is Celery's own "replace me".
return function(event)
  local child = event.child
  if child.signal then
    forksafe.log.warning("worker %d (process %d) was ended by signal %d", event.worker, child.pid, child.signal)
  else
    forksafe.log.info("worker %d (process %d) ended with %d", event.worker, child.pid, child.exit)
  end
end
