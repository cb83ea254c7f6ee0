-- SPDX-License-Identifier: MIT
--
-- Counts, for tests/bench/fork_safety.sh: every arm of every scenario so many times.
local fork_safety = require "support.fork_safety"
local postgres = require "support.postgres"
local support = require "support"

local RUNS = tonumber(os.getenv "RUNS")
local NUMBERS = os.getenv "NUMBERS" -- of the scenarios, with spaces; none: all

local function is_asked_for(scenario)
  return NUMBERS == "" or (" " .. NUMBERS .. " "):find(" " .. scenario.number .. " ", 1, true) ~= nil
end

-- One arm: in how many runs something was wrong, and what, summed.
local function count(scenario, hook, database)
  local sum = { broken = 0, right = 0, wrong = 0, failed = 0, hung = 0, repeated = 0, backends = {} }
  for _ = 1, RUNS do
    local counts = fork_safety.run(scenario, hook, { database = database })
    sum.broken = sum.broken + (fork_safety.is_right(scenario, counts) and 0 or 1)
    for _, what in ipairs { "right", "wrong", "failed", "hung", "repeated" } do
      sum[what] = sum[what] + counts[what]
    end
    sum.backends[tostring(counts.backends)] = true
  end
  return sum
end

local function backends_of(sum)
  local list = {}
  for number in pairs(sum.backends) do
    table.insert(list, number)
  end
  table.sort(list)
  return table.concat(list, ", ")
end

local function run_all()
  print("| # | stack | hooks | runs that broke | right | wrong, HTTP 200 | failed | hung | repeated | more backends |")
  print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
  for _, scenario in ipairs(fork_safety.scenarios) do
    for _, tls in ipairs(not is_asked_for(scenario) and {} or scenario.database and { false, true } or { false }) do
      local database = scenario.database and postgres.shared { tls = tls }
      for _, hook in ipairs { "nothing", unpack(scenario.hooks) } do
        local sum = count(scenario, hook, database)
        print(("| %d | %s%s | `%s.lua` | %d of %d | %d | %d | %d | %d | %d | %s |"):format(scenario.number, scenario.name,
          tls and ", TLS" or "", hook, sum.broken, RUNS, sum.right, sum.wrong, sum.failed, sum.hung, sum.repeated,
          database and backends_of(sum) or ""))
        io.stdout:flush()
      end
    end
  end
end

local ok, message = xpcall(run_all, debug.traceback)
support.cleanup()
if not ok then
  io.stderr:write(message, "\n")
  os.exit(1)
end
