-- Runs in each worker, with the application loaded: the place to open what this worker needs.
return function(event)
  forksafe.log.info("worker %d ready, application loaded: %s", event.worker, event.app_loaded)
end
