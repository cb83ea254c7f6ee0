-- SPDX-License-Identifier: MIT
--
-- What tests/promises/guards.sh asks: which guards there are (the list in runtime/core/guards.h), whether a spec went as it must while one
-- of them was off, and the row of that guard. Runs in the test process of its own, from tests/.
local M = {}

local function read(path)
  local file = io.open(path)
  local text = file and file:read "*a"
  return text, file and file:close()
end

-- What each guard does, by its promise.
local function texts()
  local list = {}
  for number, text in read("../runtime/core/guards.h"):gmatch 'X%((%d+), [%u_]+, "([^"]+)"%)' do
    list[tonumber(number)] = text
  end
  return list
end

local function name_of(spec)
  return spec:match "([^/]+)_spec%.lua$"
end

-- How many tests of each promise failed in a spec, and what failed outside of a test: that is the promise's that the spec is named after,
-- unless a test failed too, which then left it behind.
local function failures(directory, spec)
  local name, failed, count = name_of(spec), {}, 0
  for promise, word in (read(directory .. "/" .. name .. ".cells") or ""):gmatch "(%d+) test (%a+)\n" do
    promise = tonumber(promise)
    failed[promise] = (failed[promise] or 0) + (word == "begun" and 1 or -1)
    count = count + (word == "begun" and 1 or -1)
  end
  local told = tonumber((read(directory .. "/" .. name .. ".result") or ""):match "^%d+ (%d+)")
  if count == 0 and told ~= 0 then
    failed[told and tonumber(name:match "^%d+") or 0] = told or 1 -- one that did not even begin proves nothing
  end
  return failed
end

-- How many tests of this promise failed in a spec, and the other promises of which some did (0: outside of a test).
local function sort_out(number, directory, spec)
  local own, others = 0, {}
  for promise, count in pairs(failures(directory, spec)) do
    if promise == number then
      own = count
    elseif count > 0 then
      table.insert(others, promise)
    end
  end
  return own, others
end

--- The numbers of all guards, one a line.
---@return integer exit status
function M.numbers()
  for number in ipairs(texts()) do
    print(number)
  end
  return 0
end

--- Whether no test of another promise failed in a spec while this guard was off.
---@param number string
---@param directory string where its results are
---@param spec string
---@return integer exit status
function M.is_as_expected(number, directory, spec)
  local _, others = sort_out(tonumber(number), directory, spec)
  return others[1] and 1 or 0
end

--- Prints the row of a guard.
---@param number string
---@param directory string
---@param ... string the specs that ran
---@return integer exit status, 0 where tests of its promise failed and no others
function M.tell(number, directory, ...)
  local own, others, where = 0, {}, {}
  for _, spec in ipairs { ... } do
    local count, more = sort_out(tonumber(number), directory, spec)
    own = own + count
    for _, promise in ipairs(more) do
      table.insert(others, ("%s in %s"):format(promise > 0 and "promise " .. promise or "a set-up", name_of(spec)))
    end
    if count > 0 then
      table.insert(where, name_of(spec))
    end
  end
  local good = own > 0 and not others[1]
  local failed = own > 0 and "its own: " .. table.concat(where, ", ") or "none of its own"
  if others[1] then
    failed = failed .. "; and of others: " .. table.concat(others, ", ")
  end
  print(("%s %2d  %-72s %s"):format(good and "ok     " or "FAILED ", number, texts()[tonumber(number)] or "there is no such guard", failed))
  return good and 0 or 1
end

return M
