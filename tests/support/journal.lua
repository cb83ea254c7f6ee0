-- SPDX-License-Identifier: MIT
--
-- The journal's C functions, called from Lua: the library built for tests (every fks_ name visible) through LuaJIT's FFI. The test
-- process is the master and forks for real. `local journal = require "support.journal"`.
local ffi = require "ffi"
local cjson = require "cjson"
local errno = require "posix.errno"
local signal = require "posix.signal"
local syswait = require "posix.sys.wait"
local unistd = require "posix.unistd"
local files = require "support.files"
local paths = require "support.paths"
local process = require "support.process"
local scope = require "support.scope"

ffi.cdef [[
struct fks_error { int code; char text[1024]; };
struct fks_journal_spec {
  const void *config;
  const char *ini, *app, *container, *server_version;
  int master;
  unsigned worker_uid, worker_gid;
  uint32_t subscribers;
};
struct fks_journal_subscriber {
  const char *name, *path;
  uint32_t line;
  int event;
  uint32_t hook;
  int32_t order;
  int on_error;
  uint64_t hash, mtime_ns;
};
struct forksafe_occasion {
  uint32_t size;
  int32_t role, worker, forked, app_loaded;
  int child_pid;
  int32_t child_exit, child_signal;
};
struct fks_run {
  uint32_t hook, subscriber;
  int event;
  const struct forksafe_occasion *occasion;
  uint64_t begun;
  void *record;
  uint64_t number;
};
int fks_settings_load(void **out, const char *uri, const char *app, const void *options, size_t count, struct fks_error *error);
void fks_settings_destroy(void *settings);
int fks_config_init(void *out, const void *settings, struct fks_error *error);
void fks_config_finish(void *config);
int fks_journal_open(void **out, const struct fks_journal_spec *spec, struct fks_error *error);
void fks_journal_close(void *journal);
const char *fks_journal_path(const void *journal);
const void *fks_journal_header(const void *journal);
uint32_t fks_journal_next_generation(void *journal);
uint32_t fks_journal_add_hook(void *journal, const char *name, int event);
uint32_t fks_journal_add_subscriber(void *journal, const struct fks_journal_subscriber *subscriber);
void fks_journal_status(void *journal, const char *status, const char *environment, const char *line);
void fks_journal_sweep(void *journal);
void fks_journal_claim(void *journal, const struct forksafe_occasion *occasion);
void fks_journal_state(void *journal, int state);
void fks_journal_fire(void *journal, uint32_t hook);
void fks_journal_begin(void *journal, struct fks_run *run);
void fks_journal_end(void *journal, struct fks_run *run, int outcome);
void fks_journal_error(void *journal, const struct fks_run *run, const char *text, size_t length);
void fks_journal_child_exit(void *journal, int pid, int exit_status, int signal);
int fks_reader_open(void **out, const char *path, struct fks_error *error);
size_t fks_journal_size(const void *journal);
int fks_reader_over(void **out, const void *mapped, size_t size, const char *path, struct fks_error *error);
void fks_reader_close(void *reader);
char *fks_debug_text(void *const *readers, size_t count, const char *instance, int indent, struct fks_error *error);
void free(void *memory);
long syscall(long number, ...);
]]

local M = {}

local C = ffi.load(paths.build .. "/tests/libforksafe-test.so")
M.C = C

-- The enums of events.h and journal_layout.h, as far as specs name them.
M.POST_FORK, M.CHILD_EXIT = 2, 5
M.WORKER, M.MASTER, M.SINGLE = 0, 1, 3
M.STARTING, M.READY = 1, 2
M.OK, M.ERROR, M.QUEUED = 1, 2, 6
M.NO_SUBSCRIBER = 0xffff
M.EJOURNAL, M.EACCESS, M.ENOENT, M.EVERSION = -4, -10, -9, -11

local Journal = {}
Journal.__index = Journal

---@param fields? table role, worker, forked, app_loaded, child_pid, child_exit, child_signal
local function occasion(fields)
  local o = ffi.new "struct forksafe_occasion"
  o.size = ffi.sizeof(o)
  for name, value in pairs(fields or {}) do
    o[name] = value
  end
  return o
end

--- An ini of forksafe's own format with these keys, in a directory of the test; runtime_dir is the test's unless given.
---@param keys? table<string, any>
---@return string path
function M.ini(keys)
  local all = { runtime_dir = M.runtime_dir() }
  for name, value in pairs(keys or {}) do
    all[name] = value
  end
  local lines = { "[forksafe]" }
  for name, value in pairs(all) do
    table.insert(lines, name .. " = " .. tostring(value))
  end
  return files.write(files.tmpdir() .. "/app.ini", table.concat(lines, "\n") .. "\n[settings]\n")
end

--- The runtime directory of this test's journals.
function M.runtime_dir()
  return process.runtime_dir()
end

--- Opens the journal of an ini (a path, or keys for M.ini). options: master, worker_uid, worker_gid, subscribers, generation = false
--- to leave the generation as it is. Returns the journal and, where the library said something, the line and its code.
---@return table journal
---@return string? line
---@return integer? code
function M.open(ini, options)
  options = options or {}
  local path = type(ini) == "string" and ini or M.ini(ini)
  local failure, settings, config = ffi.new "struct fks_error", ffi.new "void *[1]", ffi.new "char[1024]"
  assert(C.fks_settings_load(settings, path, nil, nil, 0, failure) == 0, ffi.string(failure.text))
  assert(C.fks_config_init(config, settings[0], failure) == 0, ffi.string(failure.text))
  local spec = ffi.new "struct fks_journal_spec"
  spec.config, spec.ini, spec.app, spec.container, spec.server_version = config, path, "main", "test", "1.0"
  spec.master = options.master or 0
  spec.worker_uid, spec.worker_gid = options.worker_uid or -1, options.worker_gid or -1
  spec.subscribers = options.subscribers or 1
  local out = ffi.new "void *[1]"
  local code = C.fks_journal_open(out, spec, failure)
  local line = code ~= 0 and ffi.string(failure.text) or nil
  C.fks_config_finish(config)
  C.fks_settings_destroy(settings[0])
  assert(out[0] ~= nil, line)
  local journal = setmetatable({ handle = out[0], pid = unistd.getpid(), ini = path }, Journal)
  scope.defer(function()
    journal:close()
  end)
  if options.generation ~= false then
    C.fks_journal_next_generation(journal.handle)
  end
  return journal, line, code
end

function Journal:close()
  if self.handle and self.pid == unistd.getpid() then
    C.fks_journal_close(self.handle)
  end
  self.handle = nil
end

--- The file's path; nil for one in memory.
function Journal:path()
  local path = C.fks_journal_path(self.handle)
  return path ~= nil and ffi.string(path) or nil
end

--- Adds a hook for an event (PostFork unless given). Returns its index.
function Journal:hook(name, event)
  return C.fks_journal_add_hook(self.handle, name, event or M.POST_FORK)
end

--- Adds a subscriber. fields: path, line, event, hook, order, on_error, hash. Returns its index.
function Journal:subscriber(name, fields)
  fields = fields or {}
  local s = ffi.new "struct fks_journal_subscriber"
  s.name, s.path, s.event, s.order = name, fields.path or "/hooks/" .. name .. ".lua", fields.event or M.POST_FORK, fields.order or 50
  s.line, s.hook, s.on_error, s.hash = fields.line or 0, fields.hook or 0, fields.on_error or 0, fields.hash or 0
  return C.fks_journal_add_subscriber(self.handle, s)
end

function Journal:status(...)
  C.fks_journal_status(self.handle, ...)
end

function Journal:claim(fields)
  C.fks_journal_claim(self.handle, occasion(fields))
end

function Journal:sweep()
  C.fks_journal_sweep(self.handle)
end

function Journal:child_exit(pid, exit_status, signal_number)
  C.fks_journal_child_exit(self.handle, pid, exit_status, signal_number or 0)
end

--- Begins a run of a subscriber (index; NO_SUBSCRIBER: of none) of hook 0. Returns what Journal:finish takes.
function Journal:begin(subscriber, fields)
  local run, o = ffi.new "struct fks_run", occasion(fields)
  run.hook, run.subscriber, run.event, run.occasion = 0, subscriber, M.POST_FORK, o
  C.fks_journal_begin(self.handle, run)
  return { run = run, occasion = o }
end

function Journal:finish(begun, outcome)
  C.fks_journal_end(self.handle, begun.run, outcome or M.OK)
end

function Journal:error(begun, text)
  C.fks_journal_error(self.handle, begun.run, text, #text)
end

--- Begins and ends a run.
function Journal:run(subscriber, fields, outcome)
  self:finish(self:begin(subscriber, fields), outcome)
end

local function take_text(readers, count)
  local failure = ffi.new "struct fks_error"
  local text = C.fks_debug_text(readers, count, nil, 0, failure)
  assert(text ~= nil, ffi.string(failure.text))
  local json = ffi.string(text)
  ffi.C.free(text)
  return json
end

--- The debug object of a journal file, as text; nil, line, code where it cannot be read.
---@param path string
---@return string?
---@return string? line
---@return integer? code
function M.read_text(path)
  local failure, out = ffi.new "struct fks_error", ffi.new "void *[1]"
  local code = C.fks_reader_open(out, path, failure)
  if code ~= 0 then
    return nil, ffi.string(failure.text), code
  end
  local json = take_text(out, 1)
  C.fks_reader_close(out[0])
  return json
end

--- The same, decoded.
function M.read(path)
  local text, line, code = M.read_text(path)
  if not text then
    return nil, line, code
  end
  return cjson.decode(text)
end

--- The debug object of the journal mapped in this process, as a hook sees it.
function Journal:read_mapped()
  local failure, out = ffi.new "struct fks_error", ffi.new "void *[1]"
  local code = C.fks_reader_over(out, C.fks_journal_header(self.handle), C.fks_journal_size(self.handle), nil, failure)
  assert(code == 0, ffi.string(failure.text))
  local json = take_text(out, 1)
  C.fks_reader_close(out[0])
  return cjson.decode(json)
end

--- The debug object of its file.
function Journal:read()
  return assert(M.read(self:path()))
end

local SYS_clone3, SIGCHLD = 435, 17

-- As fork(), into a pid that is free. nil where it is not.
local function fork_as(pid)
  local set_tid = ffi.new("int[1]", pid)
  local arguments = ffi.new "uint64_t[11]" -- struct clone_args
  arguments[4], arguments[8], arguments[9] = SIGCHLD, ffi.cast("uintptr_t", set_tid), 1
  local result = tonumber(ffi.C.syscall(SYS_clone3, arguments, ffi.cast("size_t", ffi.sizeof(arguments))))
  return result >= 0 and result or nil
end

--- Forks a child that runs `work` and exits: 0, or 1 (after a line on standard error) where it threw. Returns its pid. It is killed when
--- the test ends. `pid` (optional) is the pid that it shall have; nil, where that cannot be had.
---@param work fun()
---@param pid? integer
---@return integer? pid
function M.child(work, pid)
  pid = pid and fork_as(pid) or not pid and assert(unistd.fork()) or nil
  if not pid then
    return nil
  end
  if pid == 0 then
    local ok, message = pcall(work)
    if not ok then
      io.stderr:write("child: " .. tostring(message) .. "\n")
    end
    unistd._exit(ok and 0 or 1)
  end
  M.alive[pid] = true
  scope.defer(function()
    if M.alive[pid] then
      signal.kill(pid, signal.SIGKILL)
      M.reap(pid)
    end
  end)
  return pid
end

M.alive = {}

--- Waits for a child. Returns "exited" or "killed", and with what.
---@param pid integer
---@return string how
---@return integer code
function M.reap(pid)
  local _, how, code
  repeat
    _, how, code = syswait.wait(pid)
  until how or errno.errno() ~= errno.EINTR
  M.alive[pid] = nil
  return how, code
end

--- A child that runs `work` to its end, which must be a good one. Returns its pid.
function M.done(work)
  local pid = M.child(work)
  local how, code = M.reap(pid)
  assert(how == "exited" and code == 0, "the child ended badly")
  return pid
end

--- A child that does `work` and then stays; returns when `work` is done. The journal is told nothing of its end. `wanted`: its pid, as
--- for M.child.
function M.stay(work, wanted)
  local reading, writing = unistd.pipe()
  local pid = M.child(function()
    unistd.close(reading)
    work()
    unistd.write(writing, ".")
    while true do
      unistd.sleep(3600)
    end
  end, wanted)
  unistd.close(writing)
  local answer = unistd.read(reading, 1)
  unistd.close(reading)
  assert(not pid or answer == ".", "the child ended before its work was done")
  return pid
end

--- Ends a child with SIGKILL and reaps it.
function M.kill(pid)
  signal.kill(pid, signal.SIGKILL)
  return M.reap(pid)
end

--- The first item of a list whose field has this value.
function M.find(list, field, value)
  for _, item in ipairs(list) do
    if item[field] == value then
      return item
    end
  end
  return nil
end

return M
