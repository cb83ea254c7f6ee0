-- SPDX-License-Identifier: MIT
--
-- Scenario 4: a producer of the worker's own. The inherited one is kept: its end would wait for threads that are not here.
return function()
  forksafe.python.exec [[
import kafka_app
kafka_app.inherited = kafka_app.producer
kafka_app.producer = kafka_app.make_producer()
]]
end
