-- SPDX-License-Identifier: MIT
--
-- Promise 11 in real servers: each call of libc that forksafe makes in a master or a worker (files, maps, timers, signals, processes)
-- fails once. The server still starts, serves, reloads and ends; the hooks ran, or a line says why not.
local faults = require "promises.faults"

describe("promise 11: with each call of forksafe's to libc failing that asks for no memory,", function()
  faults.each_container(11, false)
end)
