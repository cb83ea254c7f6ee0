-- One file, several events, by name: how a worker ends, seen by itself and by its master.
forksafe.subscribe("ApplicationWorkerExit", function(event)
  forksafe.log.info("worker %s goes", event.worker)
end)

forksafe.subscribe("ApplicationChildExit", function(event)
  local child = event.child
  if child.signal then
    forksafe.log.warning("worker %s was ended by signal %s", child.worker, child.signal)
  end
end)
