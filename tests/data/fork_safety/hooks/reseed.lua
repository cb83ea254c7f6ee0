-- SPDX-License-Identifier: MIT
--
-- Scenario 7: numbers of the worker's own.
return function()
  forksafe.python.exec "import generator_app; generator_app.generator.seed()"
end
