-- SPDX-License-Identifier: MIT
--
-- Scenarios that break at a fork, and what repairs them: the real servers, libraries and PostgreSQL. Both arms run the same command, and
-- only the hooks file differs. tests/bench/fork_safety.sh counts 20 runs of each.
local cjson = require "cjson"
local fork_safety = require "support.fork_safety"
local postgres = require "support.postgres"
local support = require "support"

local TRIES = 5 -- of the arm without: threads and processes race there

-- What `forksafe doctor` says of the server: the one connection to the database, shared by the master and its 3 workers.
local function assert_doctor_names(database)
  return function(server)
    local result = support.run { support.paths.command, "doctor", "--json", tostring(server.pid) }
    local found
    for _, finding in ipairs(cjson.decode(result.stdout).findings) do
      if finding.peer == "127.0.0.1:" .. database.port then
        found = finding
      end
    end
    assert.is_table(found, result.output)
  end
end

local function text_of(counts)
  return ("right %d, wrong %d, failed %d, hung %d, repeated %d\n%s"):format(counts.right, counts.wrong, counts.failed, counts.hung,
    counts.repeated, counts.log)
end

for _, scenario in ipairs(fork_safety.scenarios) do
  for _, tls in ipairs(scenario.database and { false, true } or { false }) do
    describe(scenario.name .. (tls and " over TLS" or ""), function()
      local function database()
        return scenario.database and postgres.shared { tls = tls } or nil
      end

      it("breaks without a repair", function()
        local counts
        for _ = 1, TRIES do
          counts = fork_safety.run(scenario, "nothing", { database = database(), look = scenario.database and assert_doctor_names(database()) })
          if not fork_safety.is_right(scenario, counts) then
            return
          end
        end
        support.fail("it does not break: " .. text_of(counts))
      end)

      for _, hook in ipairs(scenario.hooks) do
        it("works with " .. hook .. ".lua", function()
          local counts = fork_safety.run(scenario, hook, { database = database() })
          assert.is_true(fork_safety.is_right(scenario, counts), text_of(counts))
          if scenario.database then
            assert.equal(3, counts.backends, "one more backend a worker")
          end
        end)
      end
    end)
  end
end
