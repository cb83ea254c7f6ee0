-- SPDX-License-Identifier: MIT
--
-- The REPL's session: what a line sees and how its results are shown. Called once with the C side's functions, gives
-- back the session that C calls for each line and each TAB. Runs in the command's process.
local complete = require "repl.complete"
local help_texts = require "repl.help"
local pretty = require "repl.pretty"
local records = require "repl.records"
local text = require "repl.text"

---@class forksafe.repl.host What C hands to this file.
---@field fetch fun(): table reads the journals now: the debug object. Throws one line where that fails
---@field encode fun(value: any): string JSON. Throws where the value has none
---@field width fun(): integer columns to use
---@field null userdata JSON's null within a list
---@field terminal boolean standard output is a terminal
---@field interactive boolean a person types
---@field json boolean results are printed as JSON
---@field version string
---@field instance string whose journals they are
local host = ...

if rawget(_G, "jit") then
  jit.off() -- compiled loops do not see Ctrl-C
end

local session = {}
local snapshot -- the debug object as this line sees it
local leaving = {} -- thrown by quit
local left = false
local pending, pending_problem -- lines of a chunk that is not finished, and why it is not

local short_names, scope_names = {}, { "debug_state" }
for i, entry in ipairs(help_texts.names) do
  short_names[entry[1]] = true
  scope_names[i + 1] = entry[1]
end

local function current()
  snapshot = snapshot or host.fetch()
  return snapshot
end

-- Only names that nobody has assigned arrive here, so a user's own globals stay.
setmetatable(_G, {
  __index = function(_, name)
    if name == "debug_state" then
      return current()
    end
    return short_names[name] and current()[name] or nil
  end,
})

-- Without a terminal nothing is left out: it is a file or another program that reads.
local function limits_of(options, width)
  local limits = { width = width }
  if not host.terminal then
    limits.depth, limits.items, limits.text, limits.total = 30, 1e6, 1e6, 1e6
  end
  for name, value in pairs(options or {}) do
    limits[name] = value
  end
  return limits
end

local function write_line(line)
  io.stdout:write(line, "\n")
end

--- Prints a value as a result is printed. `options`: fields of pretty.limits.
local function show(value, options)
  local width = host.width()
  write_line(records.format(value, limits_of(options, host.terminal and width or 1e6))
    or pretty.format(value, limits_of(options, width)))
end
_G.show = show

--- A list of the same records with only the fields named, in this order.
function _G.pick(list, ...)
  local columns, picked = { ... }, {}
  for i, row in ipairs(list) do
    picked[i] = {}
    for _, name in ipairs(columns) do
      picked[i][name] = row[name]
    end
  end
  return setmetatable(picked, { __columns = columns })
end

--- Reads the journal again, for a loop that watches it within one line.
function _G.refresh()
  snapshot = host.fetch()
end

_G.null = host.null

-- Terminal escapes in a text of the journal must not reach a terminal; a file or pipe gets the bytes.
function _G.print(...)
  local parts = { ... }
  for i = 1, select("#", ...) do
    parts[i] = tostring(parts[i])
    parts[i] = host.terminal and text.escape(parts[i], "\n\t") or parts[i]
  end
  write_line(table.concat(parts, "\t"))
end

-- A word that does something when it is the whole line, and when it is called.
local function command(run)
  return setmetatable({}, {
    __call = run,
    __repl_command = run,
    __tostring = function()
      return "<command of the REPL>"
    end,
  })
end

local function leave()
  left = true
  error(leaving, 0)
end

_G.quit = command(leave)
_G.exit = _G.quit
_G.help = command(function()
  io.stdout:write(help_texts.text())
end)

local function as_command(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__repl_command") or nil
end

local function show_result(value)
  local run = as_command(value)
  if run then
    run()
  elseif host.json then
    write_line(host.encode(value))
  else
    show(value)
  end
end

-- A string that is not finished, a block without its end: more lines may follow.
local function is_incomplete(problem)
  return problem:find "near '<eof>'$" ~= nil
end

-- The chunk as a function (an expression if it is one), and how many of its results are not the chunk's own. Else nil,
-- what is wrong, and whether more lines may mend it. ("return nil, f()" is no tail call: errors keep their place.)
local function compile(chunk, name)
  local blank, code = chunk:match "^(%s*)=?(.*)$"
  local expression, problem_of_expression = load(blank .. "return nil, " .. code, "=" .. name, "t")
  if expression then
    return expression, 1
  end
  local statement, problem = load(chunk, "=" .. name, "t")
  if statement then
    return statement, 0
  end
  if is_incomplete(problem_of_expression) and not is_incomplete(problem) then
    problem = problem_of_expression
  end
  return nil, problem, is_incomplete(problem)
end

local function message_of(thrown)
  if type(thrown) == "string" then
    return thrown
  end
  local meta = debug.getmetatable(thrown)
  if type(meta) == "table" and rawget(meta, "__tostring") then
    local ok, message = pcall(tostring, thrown)
    return ok and message or "an error whose __tostring fails"
  end
  return "an error that is no text: " .. (pretty.inline(thrown, 200) or tostring(thrown))
end

-- The calls between the chunk and the error, without those of the REPL; "" where the message tells as much.
local function calls_of_user()
  local calls = {}
  for line in debug.traceback("", 3):gmatch "\n\t([^\n]*)" do
    if line:find "^%[C%]: in function 'xpcall'" then
      break
    end
    calls[#calls + 1] = line
  end
  if calls[1] == "[C]: in function 'error'" then
    table.remove(calls, 1)
  end
  return #calls > 1 and "\n  " .. table.concat(calls, "\n  ") or ""
end

local function explain(thrown)
  if thrown == leaving then
    return leaving
  end
  return message_of(thrown) .. (host.interactive and calls_of_user() or "")
end

local function report(message)
  if message == leaving then
    return "quit"
  end
  io.stdout:flush()
  message = host.interactive and message or "forksafe repl: " .. message:gsub("%s*\n%s*", " ")
  io.stderr:write(text.escape(message, "\n\t"), "\n")
  return "error"
end

-- Keeps the first result and shows all.
local function show_results(count, ...)
  if count > 0 then
    rawset(_G, "_", (...))
  end
  for i = 1, count do
    local ok, problem = xpcall(show_result, explain, (select(i, ...)))
    if not ok then
      return report(problem)
    end
  end
  return "ok"
end

-- What xpcall gave: the results without the first `skip`, or the error.
local function finish(skip, ok, ...)
  if left then
    return "quit"
  elseif not ok then
    return report((...))
  end
  return show_results(select("#", ...) - skip, select(skip + 1, ...))
end

-- Runs the chunk that has come so far.
local function run_pending(name)
  snapshot = nil
  local run, told, more = compile(pending, name)
  if more then
    pending_problem = told
    return "incomplete"
  end
  pending = nil
  if not run then
    return report(told)
  end
  local answer = finish(told, xpcall(run, explain))
  io.stdout:flush()
  return left and "quit" or answer
end

--- Takes a line; runs it, with the lines before it that were waiting for more, and shows what it returns.
---@param line string
---@param name string what an error calls the source
---@param number? integer of the line in its source
---@return "ok"|"error"|"incomplete"|"quit"
function session.feed(line, name, number)
  if pending then
    pending = pending .. "\n" .. line
  elseif line:find "%S" then
    pending = ("\n"):rep((number or 1) - 1) .. line -- so that an error names the source's line
  else
    return "ok"
  end
  return run_pending(name)
end

--- Forgets the lines that wait for more.
function session.cancel()
  pending = nil
end

--- No more lines come: an error if some were waiting.
---@return "ok"|"error"
function session.close()
  return pending and report(pending_problem .. ": the input ends here") or "ok"
end

--- For TAB: what to add to the line, and what to list.
---@param line string up to the cursor
---@return string addition
---@return string? list
function session.complete(line)
  local scope = {
    names = scope_names,
    global = function(name)
      return _G[name]
    end,
  }
  local ok, addition, list = pcall(complete.complete, line, scope, host.width())
  return ok and addition or "", ok and list or nil
end

--- The line that greets a person.
---@return string
function session.banner()
  return help_texts.banner:format(host.version, text.escape(host.instance))
end

---@param more boolean the chunk goes on
---@return string
function session.prompt(more)
  return more and "...> " or ("forksafe[%s]> "):format(text.escape(host.instance))
end

return session
