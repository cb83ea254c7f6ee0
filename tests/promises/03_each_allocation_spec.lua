-- SPDX-License-Identifier: MIT
--
-- Promise 3 in real servers: each call by which forksafe asks for memory in a master or a worker fails once, and with all after it. The
-- server still starts, serves, reloads and ends; the hooks ran, or a line says why not.
local faults = require "promises.faults"

describe("promise 3: with each allocation of forksafe's failing,", function()
  faults.each_container(3, true)
end)
