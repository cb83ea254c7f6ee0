-- SPDX-License-Identifier: MIT
--
-- Which calls of forksafe's fail in which real server (failing.lua): N rising until a run has no Nth call; the short form takes a few that
-- lie far from each other. Runs in the test process.
local assert = require "luassert"
local posix = require "posix.errno"
local failing = require "promises.failing"
local promises = require "support.promises"

local M = {}

local SHORT = { master = 3, worker = 1 } -- faults of the short form in each, of either kind
local BEYOND = 3 -- numbers after the last call of the first run: another run may make a few more

-- Where a run is short, each call also fails with each of these.
local ERRORS = { posix.EINTR, posix.EIO, posix.EACCES, posix.EMFILE, posix.ENOSPC }
local SHORT_RUNS = { program = true }

-- PHP-FPM and a C program count for preload; a Redis has databases for so many worker programs.
local COLUMNS = { ["php-fpm"] = "preload", program = "preload" }
local PARTS = { celery = promises.number(1, 2) }

-- What calls() of failing.lua returned, by container: its parts share it.
local known = {}

local function calls_of(container)
  known[container] = known[container] or { failing.calls(container) }
  return unpack(known[container])
end

-- Of these calls: all, or some that lie far from each other.
local function choose(faults, calls, part, parts)
  if not calls[1] then
    return
  end
  local count = promises.LONG and #calls or math.min(#calls, SHORT[calls[1].role])
  for i = part, count, parts do
    table.insert(faults, calls[promises.LONG and i or math.floor((i - 0.5) * #calls / count) + 1])
  end
end

-- The same fault in another way: a field with its value.
local function varied(fault, field, value)
  local copy = { role = fault.role, number = fault.number, name = fault.name, site = fault.site, reload = fault.reload }
  copy[field] = value
  return copy
end

local function add_errors(faults)
  for i = 1, #faults do
    for _, number in ipairs(ERRORS) do
      table.insert(faults, varied(faults[i], "error", number))
    end
  end
end

-- The first of them for good too.
local function add_lasting(faults, count)
  for i = 1, count do
    table.insert(faults, varied(faults[i], "lasting", true))
  end
end

local function inject(container, memory, part, parts)
  local master, worker, usual = calls_of(container)
  local faults = {}
  for role, all in pairs { master = master, worker = worker } do
    local calls = failing.of_kind(all, memory)
    choose(faults, calls, part, parts)
    print(("        %s: %d calls of a %s: %s"):format(container, #calls, role, failing.told(calls)))
  end
  local plain = #faults
  if promises.LONG and not SHORT_RUNS[container] then -- rising until a run has no such call
    for i = 1, memory and 0 or BEYOND do
      table.insert(faults, { role = "master", number = #master + i, reload = master[#master].reload })
    end
  elseif promises.LONG then
    add_errors(faults)
  end
  if memory then
    add_lasting(faults, promises.number(1, plain))
  end
  local met, failures = failing.inject(container, faults, usual)
  print(("        %s: %d faults, %d met, %d failures"):format(container, #faults, met, #failures))
  assert.same({}, failures)
  assert.is_true(met >= #faults * 0.5, met .. " of " .. #faults .. " met a call")
end

--- A test of a promise for each container: with each of a server's calls failing it serves, reloads and ends, and says what failed.
---@param promise integer
---@param memory boolean the calls that ask for memory, once and for good; or all others
function M.each_container(promise, memory)
  for _, container in ipairs { "program", "php-fpm", unpack(promises.CONTAINERS) } do
    local parts = PARTS[container] or 1
    for part = 1, parts do
      local name = ("%s serves, and says what failed (%d of %d)"):format(container, part, parts)
      promises.it(promise, COLUMNS[container] or container, name, function()
        inject(container, memory, part, parts)
      end)
    end
  end
end

return M
