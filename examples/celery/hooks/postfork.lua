-- Runs in each worker, just forked: the place to drop what must not be shared with the master.
return function(event)
  local settings = event.registry.settings
  forksafe.log.info("worker %d forked, database %s", event.worker, settings["db.host"])
end
