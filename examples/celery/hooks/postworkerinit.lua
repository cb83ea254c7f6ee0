-- Runs in each process of the pool, about to take tasks: the place to open what this process needs. Celery waits four seconds for it.
return function(event)
  forksafe.log.info("worker %d ready for tasks", event.worker)
end
