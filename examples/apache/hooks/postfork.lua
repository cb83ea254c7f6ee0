-- The file's name is the subscription: this runs in each worker, just after it was forked.
return function(event)
  local settings = event.registry.settings
  forksafe.log.info("worker %s up as process %s, database %s", event.worker, event.pid, settings["db.host"])
end
