-- SPDX-License-Identifier: MIT
--
-- What the specs of tests/promises share: which promises and containers there are, tests that fill a cell of the table of both, and the
-- numbers of the short and the long form. tests/run.sh prints the table. Runs in the test process.
local busted = require "busted"
local stdlib = require "posix.stdlib"

local M = {}

--- The in-process containers: the columns.
M.CONTAINERS = { "prefork", "uwsgi", "gunicorn", "nginx", "apache", "celery", "puma", "unicorn", "preload" }

--- The promises: the rows.
M.PROMISES = {
  "a runaway script is bounded",
  "memory is bounded",
  "no memory anywhere is a clear error",
  "recursion never crashes",
  "any thrown value is safe",
  "bytecode is refused",
  "a hostile ini is one clear error",
  "a hostile or truncated journal never kills a reader",
  "the host never gets SIGBUS",
  "no count is lost or doubled",
  "a failing system call never reaches the host",
  "only trusted files execute",
  "inert in setuid hosts",
  "state files are safe",
  "no secret leaves",
  "no output injection",
  "the page cannot be abused",
  "a multithreaded fork never deadlocks",
  "the host's own Lua, signals and descriptors are untouched",
}

--- Whether the long form runs: `tests/run.sh --long`.
M.LONG = stdlib.getenv "FORKSAFE_LONG" == "1"

--- The number for the form that runs.
---@param short number
---@param long number
---@return number
function M.number(short, long)
  return M.LONG and long or short
end

-- Lines for the table: "12 gunicorn begun", and "12 gunicorn kept" at the end of a test that passed; "12 test" is one a test.
local function note(promise, columns, word)
  local path = stdlib.getenv "FORKSAFE_PROMISES"
  if not path then
    return
  end
  local file = assert(io.open(path, "a"))
  file:write(promise, " test ", word, "\n")
  for _, column in ipairs(columns) do
    file:write(promise, " ", column, " ", word, "\n")
  end
  file:close()
end

--- A busted test of a promise.
---@param promise integer
---@param where string|string[] containers; "library" where the promise cannot depend on one
---@param name string
---@param test fun()
function M.it(promise, where, name, test)
  local columns = type(where) == "table" and where or { where }
  busted.it(name, function()
    note(promise, columns, "begun")
    test()
    note(promise, columns, "kept")
  end)
end

-- Cells by promise and column: how many tests began and how many passed.
local function read_cells(file)
  local cells = {}
  for line in file:lines() do
    local promise, column, word = line:match "^(%d+) (%w+) (%w+)$"
    local row = cells[tonumber(promise)] or {}
    cells[tonumber(promise)] = row
    row[column] = row[column] or { begun = 0, kept = 0 }
    row[column][word] = row[column][word] + 1
  end
  return cells
end

-- "kept", "library" where the library's own tests stand for all containers, "BROKEN" or "-".
local function text_of(row, column)
  local cell = row[column] or row.library
  if not cell then
    return "-"
  end
  return cell.begun ~= cell.kept and "BROKEN" or row[column] and "kept" or "library"
end

--- Prints the table of the lines that the tests left in a file. Promises that no test of tests/promises was run for are left out.
---@param file file*
---@return integer empty cells for which no test was run
function M.print(file)
  local cells, empty = read_cells(file), 0
  local heads = {}
  for i, column in ipairs(M.CONTAINERS) do
    heads[i] = ("%-8s"):format(column)
  end
  print(("%-60s %s"):format("promise", table.concat(heads, " ")))
  for number, title in ipairs(M.PROMISES) do
    local texts = {}
    for i, column in ipairs(cells[number] and M.CONTAINERS or {}) do
      texts[i] = ("%-8s"):format(text_of(cells[number], column))
      empty = empty + (texts[i]:find "^-" and 1 or 0)
    end
    if texts[1] then
      print(("%2d %-57s %s"):format(number, title, table.concat(texts, " ")))
    end
  end
  return empty
end

return M
