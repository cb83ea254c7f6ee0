-- SPDX-License-Identifier: MIT
--
-- What the REPL says of itself: the journal's names, each told in one line, and the texts of `help`. The list of names
-- is also what the prelude makes available. Runs in the command's process.
local M = {}

--- The debug object's lists that have a short name, in the order of the help text.
M.names = {
  { "executed_hooks", "pairs of container hook and event, in order of first execution" },
  { "processes", "every process seen: pid, worker, role, state" },
  { "records", "what ran: event, subscriber, outcome, duration" },
  { "subscribers", "the functions that scripts registered, with their counters" },
  { "hooks", "the container's hooks, and how often each fired" },
  { "masters", "one entry a journal" },
  { "findings", "what was not safe to fork" },
}

M.banner = "forksafe %s, %s. `help` lists the names; Ctrl-D leaves."

local head = [[
Lua (LuaJIT, full library) over what the journal holds. Read anew at each line:
  debug_state     the whole debug object, as `forksafe debug` prints it
]]

local tail = [[
Functions:
  show(value, { depth = 9, items = 500 })   print more of a value
  pick(list, "pid", "worker")               the same records with these fields only
  refresh()                                 read the journal again within a line
  help()  quit()  exit()
`_` is the last result. What JSON has as null is nil in an object, `null` in a list.
Locals last for one chunk, globals stay; TAB completes; Ctrl-C cancels or interrupts.

Examples:
  pick(processes, "worker", "pid", "state")
  for _, r in ipairs(records) do if r.outcome ~= "ok" then show(r) end end
]]

--- The text of `help`.
---@return string
function M.text()
  local lines = {}
  for i, entry in ipairs(M.names) do
    lines[i] = ("  %-15s %s\n"):format(entry[1], entry[2])
  end
  return head .. table.concat(lines) .. tail
end

return M
