-- In the master, before each fork.
return function(event)
  forksafe.log.info("about to fork worker %s", event.worker)
end
