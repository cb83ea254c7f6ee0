-- SPDX-License-Identifier: MIT
--
-- A worker that is retired again and again, for spec/breaker_spec.lua: breaker_waits.lua HOW, with what ends a wait of 5 s: "nothing" (then it
-- is 0.1 s only), "pending" (TERM is blocked and pending), "handled" (a signal with a handler comes every 20 ms).
local ffi = require "ffi"
local signal = require "posix.signal"
local journal = require "support.journal"
local support = require "support"

ffi.cdef [[
void fks_breaker_retire(void *journal);
struct fks_test_interval { struct { long seconds, microseconds; } again, first; };
int setitimer(int which, const struct fks_test_interval *interval, void *before);
int sigprocmask(int how, const unsigned long *set, unsigned long *before);
int abs(int number);
void (*signal(int number, void (*handler)(int)))(int);
]]

local library = ffi.load(support.paths.build .. "/tests/libforksafe-test.so")
local how = ...
local j = journal.open {}

local function retire(times)
  for _ = 1, times do
    library.fks_breaker_retire(j.handle)
  end
end

if how == "nothing" then
  retire(2) -- at once, then 0.1 s
else
  local term = ffi.new("unsigned long[16]", { bit.lshift(1, signal.SIGTERM - 1) })
  ffi.C.sigprocmask(0, term, nil)
  signal.kill(require("posix.unistd").getpid(), signal.SIGTERM)
  retire(9)
  if how == "handled" then
    ffi.C.signal(signal.SIGTERM, ffi.cast("void (*)(int)", 1)) -- ignored: it is not pending any more
    ffi.C.signal(signal.SIGALRM, ffi.cast("void (*)(int)", ffi.C.abs))
    ffi.C.setitimer(0, ffi.new("struct fks_test_interval", { { 0, 20000 }, { 0, 20000 } }), nil)
    retire(1)
    ffi.C.setitimer(0, ffi.new "struct fks_test_interval", nil)
  end
end
support.cleanup()
