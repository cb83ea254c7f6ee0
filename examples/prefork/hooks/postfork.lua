-- In the worker, just forked: the place to reopen what must not be shared with the others.
return function(event)
  local settings = event.registry.settings
  forksafe.log.info("worker %s up, database %s", event.worker, settings["db.host"])
end
