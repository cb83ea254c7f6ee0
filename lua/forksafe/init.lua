-- SPDX-License-Identifier: MIT
--
-- The `forksafe` table that scripts see, the registry, and how a script is run. Embedded in the library; a VM runs it
-- once, in the master, with the C functions it stands on (runtime/core/vm_api.c) as its argument. Returns what C calls.

local native = ...

local error, getmetatable, ipairs, next, rawget, select, setfenv, setmetatable, tostring, type, xpcall =
  error, getmetatable, ipairs, next, rawget, select, setfenv, setmetatable, tostring, type, xpcall
local concat, format = table.concat, string.format

local ON_ERROR = { log = 0, retire_worker = 1, stop_server = 2 }
local DEFAULT_ORDER = 50

local forksafe = { version = native.version }

-- Read-only views ---------------------------------------------------------------------------------------------------

-- LuaJIT has no __pairs: these two know it, so that read-only tables can be walked like others.
local plain_pairs = pairs
function pairs(t) -- luacheck: ignore 121
  local meta = getmetatable(t)
  local walk = type(meta) == "table" and rawget(meta, "__pairs")
  if walk then
    return walk(t)
  end
  return plain_pairs(t)
end

local function read_only(values, what)
  return setmetatable({}, {
    __index = values,
    __newindex = function(_, key)
      error(format("%s is read-only: '%s' was not set; keep it in a variable of the script", what, tostring(key)), 2)
    end,
    __pairs = function()
      return next, values, nil
    end,
    __metatable = { __pairs = function()
      return next, values, nil
    end },
  })
end

-- Coroutines --------------------------------------------------------------------------------------------------------

-- Each that runs on top of another takes some of the C stack.
local explain_depth = native.explain_depth
local plain_resume, plain_wrap = coroutine.resume, coroutine.wrap

function coroutine.resume(co, ...) -- luacheck: ignore 122
  local problem = explain_depth()
  if problem then
    return false, problem
  end
  return plain_resume(co, ...)
end

function coroutine.wrap(fn) -- luacheck: ignore 122
  local step = plain_wrap(fn)
  return function(...)
    local problem = explain_depth()
    if problem then
      error(problem, 2)
    end
    return step(...)
  end
end

-- Log ---------------------------------------------------------------------------------------------------------------

local log_line = native.log_line

local function log_function(level)
  return function(text, ...)
    if log_line(level, text, ...) then -- most lines are plain, and cost a fresh child less so
      return
    end
    if select("#", ...) > 0 then
      text = format(text, ...)
    end
    native.log(level, tostring(text))
  end
end

---Lines for the container's own log; extra arguments are put in as string.format does.
forksafe.log = {
  debug = log_function(0),
  info = log_function(1),
  warning = log_function(2),
  error = log_function(3),
}

function print(...) -- luacheck: ignore 121
  local parts = {}
  for i = 1, select("#", ...) do
    parts[i] = tostring((select(i, ...)))
  end
  native.log(1, concat(parts, "\t"))
end

-- Converters, by the rules of pyramid.settings ----------------------------------------------------------------------

local TRUE_WORDS = { t = true, ["true"] = true, y = true, yes = true, on = true, ["1"] = true }

-- What Python's str.split and str.strip take for white space beyond ASCII, in UTF-8.
local WIDE_SPACES = { "\194\133", "\194\160", "\225\154\128", "\226\128[\128-\138]", "\226\128[\168\169]",
  "\226\128\175", "\226\129\159", "\227\128\128" }
local WIDE_LINE_ENDS = { "\194\133", "\226\128[\168\169]" }

local function replace_all(text, patterns, by)
  for _, pattern in ipairs(patterns) do
    text = text:gsub(pattern, by)
  end
  return text
end

local function strip(text)
  local before
  repeat
    before = text
    text = text:gsub("^[%s\28-\31]+", ""):gsub("[%s\28-\31]+$", "")
    for _, space in ipairs(WIDE_SPACES) do
      text = text:gsub("^" .. space, ""):gsub(space .. "$", "")
    end
  until text == before
  return text
end

---true for true, yes, y, t, on and 1 in any case; false for all else, nil too; booleans stay. Never an error.
function forksafe.asbool(value)
  if value == nil or type(value) == "boolean" then
    return value == true
  end
  return TRUE_WORDS[strip(tostring(value)):lower()] == true
end

local function lines_of(value)
  if type(value) == "table" then
    return value
  end
  local lines = {}
  for line in replace_all(value, WIDE_LINE_ENDS, "\n"):gmatch("[^\n\r\v\f\28-\30]+") do
    line = strip(line)
    if line ~= "" then
      lines[#lines + 1] = line
    end
  end
  return lines
end

---A list of the words of a value, or with flatten = false of its lines. Commas stay.
function forksafe.aslist(value, flatten)
  local lines = lines_of(value)
  if flatten == false then
    return lines
  end
  local words = {}
  for _, line in ipairs(lines) do
    for word in replace_all(line, WIDE_SPACES, " "):gmatch("[^%s\28-\31]+") do
      words[#words + 1] = word
    end
  end
  return words
end

-- Environment and debug object --------------------------------------------------------------------------------------

---An environment variable as it was in the master when the scripts were loaded; nil where it was not set. Its value is
---kept out of error texts.
forksafe.env = native.env

---The debug object as JSON text; nil where there is no journal.
forksafe.debug_json = native.debug_json

-- Bridges -----------------------------------------------------------------------------------------------------------

---Code of the application in this process: call, exec and eval. See lua/library/forksafe.lua for what crosses.
forksafe.python = native.python
forksafe.ruby = native.ruby

---A fresh seed for a generator in C: "libc" or "openssl". Returns 1, or 0 where there is none.
forksafe.reseed = native.reseed

-- Subscribing -------------------------------------------------------------------------------------------------------

local event_index = {}
for index, event in ipairs(native.events) do
  event_index[event.name] = index - 1
end

local function event_names()
  local names = {}
  for i, event in ipairs(native.events) do
    names[i] = event.name
  end
  return concat(names, ", ")
end

local taken = {}    -- "event\0name" of every subscriber
local loading       -- the script that is being run: { name =, stem =, added = keys of taken }

local function add(event, fn, name, order, on_error, line, leader)
  local key = event .. "\0" .. name
  if taken[key] then
    return format("there is already a subscriber '%s' for %s; give this one another name", name, native.events[event + 1].name)
  end
  taken[key] = true
  loading.added[#loading.added + 1] = key
  return native.subscribe(fn, event, name, order, on_error, line, leader)
end

local OPTIONS = { order = "number", name = "string", on_error = "string", leader = "string" }

-- Where a worker can take the lead, and where it can be asked whether it has it.
local LEADER_EVENTS = { ApplicationPostFork = true, ApplicationPostWorkerInit = true, ApplicationWorkerExit = true }

local function check_options(event, options)
  for key, value in plain_pairs(options) do
    if not OPTIONS[key] then
      error(format("forksafe.subscribe knows no option '%s'; it knows order, name, on_error and leader", tostring(key)), 3)
    elseif type(value) ~= OPTIONS[key] and not (key == "leader" and value == true) then
      error(format("forksafe.subscribe: option '%s' is a %s, not a %s", key, OPTIONS[key], type(value)), 3)
    end
  end
  if options.leader and not LEADER_EVENTS[event] then
    error(format("forksafe.subscribe: %s has no leader: only ApplicationPostFork, ApplicationPostWorkerInit and "
      .. "ApplicationWorkerExit are in a worker", event), 3)
  end
  if options.on_error and not ON_ERROR[options.on_error] then
    error("forksafe.subscribe: on_error is log, retire_worker or stop_server", 3)
  end
  if options.order and (options.order % 1 ~= 0 or options.order < -1e9 or options.order > 1e9) then
    error("forksafe.subscribe: order is a whole number", 3)
  end
end

---Runs `fn` at every firing of the event. Only while scripts load. See lua/library/forksafe.lua for the types.
function forksafe.subscribe(event, fn, options)
  if not loading then
    error("forksafe.subscribe works while scripts load, not in a subscriber", 2)
  end
  if not event_index[event] then
    error(format("unknown event '%s'; the events are %s", tostring(event), event_names()), 2)
  end
  if type(fn) ~= "function" then
    error(format("forksafe.subscribe: the subscriber of %s is a function, not a %s", event, type(fn)), 2)
  end
  if options ~= nil and type(options) ~= "table" then
    error(format("forksafe.subscribe: the options are a table, not a %s", type(options)), 2)
  end
  options = options or {}
  check_options(event, options)
  local line = native.line()
  local name, leader = options.name or loading.stem .. ":" .. line, options.leader
  local problem = add(event_index[event], fn, name, options.order or DEFAULT_ORDER,
    options.on_error and ON_ERROR[options.on_error] or native.on_error, line, leader == true and name or leader)
  if problem then
    error("forksafe.subscribe: " .. problem, 2)
  end
end

---Whether this very process leads under the name that subscribers gave as `leader`.
function forksafe.is_leader(name)
  return native.is_leader(name)
end

-- Modules and scripts -----------------------------------------------------------------------------------------------

local globals = _G
globals.forksafe = forksafe

local loaded = { forksafe = forksafe } -- by module name, or path of a script
local LOADING = {}

-- Whether it is bytecode; LuaJIT looks for that behind a mark of byte order and a first line with "#" too.
local function is_bytecode(text)
  local at = text:find "^\239\187\191" and 4 or 1
  if text:byte(at) == 35 then
    at = text:match("[^\r\n]*[\r\n]*()", at)
  end
  return text:byte(at) == 27
end

local function compile(text, chunk_name)
  if is_bytecode(text) then
    error(chunk_name:sub(2) .. ": this is bytecode; forksafe loads Lua sources only", 0)
  end
  local chunk, message = native.load(text, chunk_name)
  if not chunk then
    error(message, 0)
  end
  -- Globals of a script are its own; what is shared between scripts is a module.
  setfenv(chunk, setmetatable({}, { __index = globals }))
  return chunk
end

local function run_once(key, text, chunk_name, ...)
  if loaded[key] == LOADING then
    error(format("'%s' requires itself", tostring((...) or key)), 0)
  end
  loaded[key] = LOADING
  -- The traceback is taken here: after this function it would only show this function.
  local ok, value = xpcall(compile(text, chunk_name), native.traceback, ...)
  if not ok then
    loaded[key] = nil
    error(value, 0)
  end
  loaded[key] = value == nil and true or value
  return value
end

local full_require = native.full_require

---Pure-Lua modules: of forksafe itself, then of the script directory; with lua_libs = full also package.path and cpath.
function require(name) -- luacheck: ignore 121
  if type(name) ~= "string" then
    error("require: the module's name is a string", 2)
  end
  local text, path, chunk_name = native.source(name)
  if not text then
    if full_require then
      return full_require(name)
    end
    error(format("module '%s' not found: no %s.lua below the script directory (C modules cannot be loaded here)", name,
      (name:gsub("%.", "/"))), 2)
  end
  if loaded[path] == nil or loaded[path] == LOADING then
    run_once(path, text, chunk_name, name)
  end
  return loaded[path]
end

local function plain_type(value)
  return value == nil and "nothing" or "a " .. type(value)
end

local function file_names()
  local names = {}
  for i, event in ipairs(native.events) do
    names[i] = event.file .. ".lua"
  end
  return concat(names, ", ")
end

-- Runs one script; `event` is what its file name subscribes to, or nil.
local function run_script(text, path, name, event)
  local stem = name:gsub("%.lua$", "")
  loading = { name = name, stem = stem, added = {} }
  local value = loaded[path] -- where another script required it, it has run
  if value == nil then
    value = run_once(path, text, "@" .. path)
  elseif value == true then
    value = nil
  end
  if event then
    if type(value) ~= "function" then
      error(format("%s: the script must return a function(event), it returned %s", path, plain_type(value)), 0)
    end
    local problem = add(event, value, stem, DEFAULT_ORDER, native.on_error, 0)
    if problem then
      error(path .. ": " .. problem, 0)
    end
  elseif type(value) == "function" then
    error(format("%s: it returns a function, but its name subscribes to nothing; name it something.<event>.lua with one of %s, "
      .. "or call forksafe.subscribe", path, file_names()), 0)
  end
  loading = nil
end

-- The audit and its remedies ----------------------------------------------------------------------------------------

local fork_safety = native.load_own((native.source "forksafe.process"), "=forksafe.process")(native)
loaded["forksafe.process"] = fork_safety

---Tells the audit that something is known and safe. Only while scripts load.
forksafe.mark_safe = fork_safety.mark_safe

-- Events ------------------------------------------------------------------------------------------------------------

local debug_object, debug_firing

local registry = setmetatable({
  settings = read_only(native.settings, "registry.settings"),
  global_conf = read_only(native.global_conf, "registry.global_conf"),
}, {
  -- The debug object, built when first looked at, anew for each firing.
  __index = function(_, key)
    if key ~= "forksafe" then
      return nil
    end
    if debug_firing ~= native.firing() then
      debug_object, debug_firing = native.debug_object(), native.firing()
    end
    return debug_object
  end,
})

-- The event's table. What each firing sets stands in it already: no table grows in a fresh child.
local function new_event(index)
  local event = native.events[index]
  local made = {
    name = event.name, registry = registry, container = native.container, hook = event.hook,
    process = fork_safety.process,
    pid = 0, ppid = 0, worker = 0, role = "", generation = 0, forked = false, app_loaded = false,
  }
  if event.name == "ApplicationChildExit" then
    made.child = { pid = 0, worker = 0, exit = 0, signal = 0 }
  end
  return made
end

return {
  new_event = new_event,
  run_script = run_script,
  -- After an error while a script ran: nothing of it is left, its names are free.
  abort_script = function()
    for _, key in ipairs(loading and loading.added or {}) do
      taken[key] = nil
    end
    loading = nil
  end,
}
