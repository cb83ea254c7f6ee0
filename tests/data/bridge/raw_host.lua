-- SPDX-License-Identifier: MIT
--
-- A server in C that has a Python inside, as uWSGI does, and forks past it: run by luajit, with a thread of Python's that holds the
-- interpreter's lock when the worker is forked.
--
--     raw_host.lua LIBRARY INI
local ffi = require "ffi"

local library, ini = ...

ffi.cdef [[
void Py_Initialize(void);
int PyRun_SimpleString(const char *);
void *PyEval_SaveThread(void);
int fork(void);
int usleep(unsigned);
int waitpid(int, int *, int);
void _exit(int);
struct point { int event, atfork; const char *hook; };
struct host {
  unsigned size, point_count;
  const char *container, *environment, *version, *ini;
  const struct point *points;
  int master;
  unsigned worker_uid, worker_gid;
  void *is_master, *log, *data;
  const char *problem;
  unsigned cannot;
};
struct occasion { unsigned size; int role, worker, forked, app_loaded, child_pid, child_exit, child_signal; };
int forksafe_open(const struct host *);
int forksafe_emit(int, const struct occasion *);
]]

local python = ffi.load("libpython3." .. (os.getenv "PYTHON_MINOR" or "11") .. ".so.1.0", true)
python.Py_Initialize()
python.PyRun_SimpleString [[
import threading
def turn():
    while True:
        pass
threading.Thread(target=turn, daemon=True).start()
]]
python.PyEval_SaveThread()

local forksafe = ffi.load(library)
local points = ffi.new("struct point[1]", { { 2, 0, "post_fork" } })
local host = ffi.new("struct host", { container = "host", environment = "host", ini = ini, points = points, point_count = 1,
  worker_uid = -1, worker_gid = -1 })
host.size = ffi.sizeof(host)
assert(forksafe.forksafe_open(host) == 0)
for _ = 1, 3 do
  local pid = ffi.C.fork()
  if pid == 0 then
    local occasion = ffi.new("struct occasion", { size = ffi.sizeof "struct occasion", forked = 1, worker = 1 })
    forksafe.forksafe_emit(2, occasion)
    ffi.C._exit(0)
  end
  ffi.C.waitpid(pid, nil, 0)
end
ffi.C._exit(0)
