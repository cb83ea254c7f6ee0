-- SPDX-License-Identifier: MIT
--
-- Starting and ending real processes: each in a process group of its own, with a runtime directory of the test's own,
-- ended by pid when the test ends. The test process is a subreaper, so that what a server leaves behind becomes its
-- child and is found. Runs in the test process, and between fork and exec in the child.
local ffi = require "ffi"
local fcntl = require "posix.fcntl"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local syswait = require "posix.sys.wait"
local unistd = require "posix.unistd"
local files = require "support.files"
local procfs = require "support.procfs"
local scope = require "support.scope"
local wait = require "support.wait"

ffi.cdef [[
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int setsid(void);
int setgroups(size_t size, const unsigned int *list);
int setresgid(unsigned int r, unsigned int e, unsigned int s);
int setresuid(unsigned int r, unsigned int e, unsigned int s);
int setpgid(int pid, int pgid);
int close_range(unsigned int first, unsigned int last, int flags);
int ioctl(int fd, unsigned long request, unsigned long argument);
]]

local PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
local TIOCSCTTY = 0x540E
local CLOSE_RANGE_CLOEXEC = 4
local STOP_SECONDS = 5 -- how long an orderly end may take before SIGKILL

local M = {}

ffi.C.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

-- Children of this process that a process object stands for, by pid.
local known = {}

local Process = {}
Process.__index = Process

---@param name string|integer "TERM", "SIGTERM" or a number
---@return integer
local function signal_number(name)
  if type(name) == "number" then
    return name
  end
  return signal["SIG" .. name:gsub("^SIG", "")] or error("no signal '" .. name .. "'", 3)
end

--- The runtime directory of this test (of the file, where one was made outside a test): RUNTIME_DIRECTORY of all
--- that is spawned, so that tests never touch /run/forksafe.
---@return string
function M.runtime_dir()
  return scope.shared("runtime_dir", function()
    local path = files.tmpdir() .. "/run"
    assert(require("lfs").mkdir(path))
    return path
  end)
end

-- What every spawned process finds in its environment beside what this process has; false takes a variable out.
local function default_environment()
  return {
    RUNTIME_DIRECTORY = M.runtime_dir(),
    XDG_STATE_HOME = M.runtime_dir() .. "/../state",
    XDG_RUNTIME_DIR = false,
    FORKSAFE = false,
    FORKSAFE_INI = false,
    LC_ALL = "C.UTF-8",
    PYTHONDONTWRITEBYTECODE = "1",
    PYTHONUNBUFFERED = "1",
  }
end

local function set_environment(changes)
  for name, value in pairs(changes) do
    stdlib.setenv(name, value or nil)
  end
end

local function become(uid, gid)
  if not uid then
    return
  end
  gid = gid or uid
  if ffi.C.setgroups(0, nil) ~= 0 or ffi.C.setresgid(gid, gid, gid) ~= 0 or ffi.C.setresuid(uid, uid, uid) ~= 0 then
    error("cannot become user " .. uid .. " (only root can)")
  end
end

local function open_onto(path, flags, target)
  local fd = assert(fcntl.open(path, flags, tonumber("600", 8)))
  assert(unistd.dup2(fd, target))
  if fd > 2 then
    unistd.close(fd)
  end
end

local function redirect(o)
  if o.terminal then
    ffi.C.setsid()
    open_onto(o.terminal, fcntl.O_RDWR, 0)
    ffi.C.ioctl(0, TIOCSCTTY, 0)
    unistd.dup2(0, 1)
    unistd.dup2(0, 2)
    return
  end
  ffi.C.setpgid(0, 0)
  open_onto(o.stdin_path, fcntl.O_RDONLY, 0)
  open_onto(o.stdout_path, fcntl.O_WRONLY + fcntl.O_APPEND, 1)
  open_onto(o.stderr_path, fcntl.O_WRONLY + fcntl.O_APPEND, 2)
end

-- In the child: never returns.
local function execute(t, o)
  local _, message = pcall(function()
    redirect(o)
    set_environment(default_environment())
    set_environment(t.env or {})
    if t.cwd then
      assert(unistd.chdir(t.cwd))
    end
    become(t.uid, t.gid)
    ffi.C.close_range(3, -1, CLOSE_RANGE_CLOEXEC)
    ffi.C.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    local argv = { [0] = t[1] }
    for i = 2, #t do
      argv[i - 1] = t[i]
    end
    assert(unistd.execp(t[1], argv))
  end)
  unistd.write(2, "cannot start: " .. tostring(message) .. "\n")
  unistd._exit(127)
end

local function prepare_files(t)
  local directory = files.tmpdir()
  local o = {
    stdin_path = "/dev/null",
    stdout_path = files.write(directory .. "/stdout", ""),
    stderr_path = files.write(directory .. "/stderr", ""),
  }
  if t.stdin then
    o.stdin_path = files.write(directory .. "/stdin", t.stdin)
  end
  return o
end

local function open_terminal(o)
  o.master = assert(fcntl.open("/dev/ptmx", fcntl.O_RDWR + fcntl.O_NOCTTY + fcntl.O_CLOEXEC))
  assert(stdlib.grantpt(o.master))
  assert(stdlib.unlockpt(o.master))
  o.terminal = assert(stdlib.ptsname(o.master))
  fcntl.fcntl(o.master, fcntl.F_SETFL, fcntl.O_NONBLOCK)
  o.seen = ""
end

--- Starts a process: spawn{ "uwsgi", "--master", env = { NAME = "value", OTHER = false }, cwd =, uid =, gid =,
--- stdin = "text", pty = true, stop_signal = "INT", stop_seconds = 5 }. env is added to this process's environment;
--- false takes a variable out. With `uid` (root only) the runtime directory is given to that user. With `pty` it has a
--- terminal of its own: send() types, output() is what was shown. It is ended when the test (or, made outside a test,
--- the file) ends: stop_signal to it, SIGKILL to its group after stop_seconds.
---@param t table
---@return table process pid, argv, runtime_dir
function M.spawn(t)
  local o = prepare_files(t)
  if t.pty then
    open_terminal(o)
  end
  local runtime_dir = M.runtime_dir()
  if t.uid then
    files.give(runtime_dir, t.uid, t.gid)
  end
  io.stdout:flush()
  io.stderr:flush()
  local pid = assert(unistd.fork())
  if pid == 0 then
    execute(t, o)
  end
  if not t.pty then
    ffi.C.setpgid(pid, pid) -- here too: whoever comes first
  end
  local self = setmetatable({
    pid = pid,
    argv = t,
    files = o,
    runtime_dir = runtime_dir,
    start = procfs.start_time(pid),
    stop_signal = t.stop_signal or "TERM",
    stop_seconds = t.stop_seconds or STOP_SECONDS,
  }, Process)
  known[pid] = self
  scope.defer(function()
    self:stop()
    if o.master then
      unistd.close(o.master)
    end
  end)
  return self
end

--- A process object for a child that is ours already: one that a server left behind when it daemonised (the test
--- process is a subreaper). It has no output. Ended at the end of the test.
---@param pid integer
---@param stop_signal? string
function M.adopt(pid, stop_signal)
  local info = assert(procfs.info(pid), "no process " .. pid)
  assert(info.ppid == unistd.getpid(), "process " .. pid .. " is not a child of the test")
  local self = setmetatable({
    pid = pid,
    argv = { procfs.command_line(pid) },
    files = {},
    start = info.start,
    adopted = true,
    stop_signal = stop_signal or "TERM",
    stop_seconds = STOP_SECONDS,
  }, Process)
  known[pid] = self
  scope.defer(function()
    self:stop()
  end)
  return self
end

function Process:stdout()
  return files.read(self.files.stdout_path or "") or ""
end

function Process:stderr()
  return files.read(self.files.stderr_path or "") or ""
end

local function drain_terminal(o)
  for _ = 1, 1000 do
    local piece = unistd.read(o.master, 4096)
    if not piece or piece == "" then
      return
    end
    o.seen = o.seen .. piece
  end
end

--- All that it has written so far: stdout, then stderr; with a terminal what that shows.
---@return string
function Process:output()
  if self.files.master then
    drain_terminal(self.files)
    return self.files.seen
  end
  return self:stdout() .. self:stderr()
end

--- Types text into its terminal (spawn with pty = true).
---@param text string
function Process:send(text)
  assert(self.files.master, "spawn it with pty = true")
  assert(unistd.write(self.files.master, text) == #text)
end

--- Waits until its output has a match of the Lua pattern, and returns what string.match returns. Fails at once when it
--- ended without one.
---@param pattern string
---@param seconds? number 10
function Process:wait_for(pattern, seconds)
  local function look()
    return self:output():match(pattern)
  end
  local deadline = wait.now() + (seconds or 10)
  while not look() and wait.now() < deadline and self:alive() do
    wait.sleep(0.01)
  end
  if not look() then
    wait.fail(("'%s' is not in the output of %s (%s):\n%s"):format(pattern, self.argv[1],
      self:alive() and "still running" or "ended", self:output()), 2)
  end
  return look()
end

local function reap(self)
  if self.how then
    return true
  end
  local pid, how, code = syswait.wait(self.pid, syswait.WNOHANG)
  if pid == 0 or how == "running" or how == "stopped" then
    return false
  end
  -- ECHILD would mean that somebody else reaped it: it has ended, and nobody can say how.
  self.how, self.code = pid and how or "lost", pid and code or nil
  return true
end

--- Whether it still runs. Reaps it when it does not.
function Process:alive()
  return not reap(self)
end

--- Sends a signal to it, not to its group.
---@param name string|integer
function Process:signal(name)
  if not reap(self) then
    assert(signal.kill(self.pid, signal_number(name)))
  end
end

--- Waits until it has ended: how ("exited" or "killed") and the code or signal; nil after `seconds` (10).
---@param seconds? number
---@return string? how
---@return integer? code
function Process:wait(seconds)
  local deadline = wait.now() + (seconds or 10)
  local pause = 0.002
  while not reap(self) do
    if wait.now() >= deadline then
      return nil
    end
    wait.sleep(pause)
    pause = math.min(pause * 1.5, 0.05)
  end
  return self.how, self.code
end

local function kill_group(self)
  if not self.adopted then
    signal.kill(-self.pid, signal.SIGKILL)
  elseif not self.how then
    signal.kill(self.pid, signal.SIGKILL)
  end
end

--- Ends it: stop_signal, after stop_seconds SIGKILL to its whole group. Twice is harmless.
---@return boolean orderly it ended by itself
function Process:stop()
  if not reap(self) then
    signal.kill(self.pid, signal.SIGCONT)
    signal.kill(self.pid, signal_number(self.stop_signal))
  end
  local orderly = self:wait(self.stop_seconds) ~= nil
  kill_group(self)
  self:wait(STOP_SECONDS)
  known[self.pid] = nil
  return orderly
end

--- Its direct children that run, sorted by pid.
function Process:children()
  return procfs.children(self.pid)
end

--- Runs a process to its end: run{ argv..., as for spawn, timeout = 20 } → { code =, signal =, stdout =, stderr =,
--- output = }. Fails when it takes longer.
---@param t table
---@return table
function M.run(t)
  local process = M.spawn(t)
  local how, code = process:wait(t.timeout or 20)
  local output = process:output()
  if not how then
    process:stop()
    wait.fail(("%s took longer than %g s:\n%s"):format(table.concat(t, " "), t.timeout or 20, output), 2)
  end
  known[process.pid] = nil
  return {
    code = how == "exited" and code or nil,
    signal = how == "killed" and code or nil,
    stdout = process:stdout(),
    stderr = process:stderr(),
    output = output,
  }
end

--- run, which must end with 0: returns stdout, fails with all output otherwise.
---@param t table
---@return string stdout
function M.must_run(t)
  local result = M.run(t)
  if result.code ~= 0 then
    wait.fail(("%s ended with %s:\n%s"):format(table.concat(t, " "),
      result.code or "signal " .. tostring(result.signal), result.output), 2)
  end
  return result.stdout
end

--- Children of the test process that no process object stands for: what servers left behind. Those that have ended
--- are reaped and not told.
---@return table[] infos as of procfs.info, with command
function M.orphans()
  local left = {}
  for _, pid in ipairs(procfs.children(unistd.getpid(), true)) do
    local info = not known[pid] and procfs.info(pid)
    if info and syswait.wait(pid, syswait.WNOHANG) == 0 then
      info.command = procfs.command_line(pid)
      table.insert(left, info)
    end
  end
  return left
end

--- Children of the test process, ended ones too, that no process object stands for: who was left behind by a server and
--- fell to the subreaper. Nobody is reaped.
---@return integer[] pids
function M.left_behind()
  local pids = {}
  for _, pid in ipairs(procfs.children(unistd.getpid(), true)) do
    table.insert(pids, not known[pid] and pid or nil)
  end
  return pids
end

-- Somebody whose parent was just killed may be on its way out.
local function wait_for_orphans(seconds)
  local deadline = wait.now() + seconds
  local left = M.orphans()
  while left[1] and wait.now() < deadline do
    wait.sleep(0.02)
    left = M.orphans()
  end
  return left
end

--- Ends all orphans that do not end by themselves within `seconds`, and says who they were.
---@param seconds number
---@return string? list one line each; nil where there were none
function M.end_orphans(seconds)
  local lines = {}
  for _ = 1, 20 do -- what an orphan leaves behind is one too
    local left = wait_for_orphans(seconds)
    if not left[1] then
      break
    end
    for _, info in ipairs(left) do
      table.insert(lines, ("%d %s (%s)"):format(info.pid, info.command, info.state))
      signal.kill(info.pid, signal.SIGKILL)
    end
    for _, info in ipairs(left) do
      syswait.wait(info.pid)
    end
  end
  return lines[1] and table.concat(lines, "\n")
end

return M
