-- SPDX-License-Identifier: MIT
--
-- System calls for the hooks of these tests (lua_libs = full): what an application of a server does with descriptors.
local ffi = require "ffi"

ffi.cdef [[
struct fks_test_in { short family; unsigned short port; unsigned address; char pad[8]; };
struct fks_test_event { unsigned events; unsigned long long data; } __attribute__((packed));
struct fks_test_timer { long interval_seconds, interval_nanoseconds, seconds, nanoseconds; };
int socket(int family, int type, int protocol);
int connect(int fd, const void *address, unsigned size);
long send(int fd, const void *data, size_t size, int flags);
long recv(int fd, void *data, size_t size, int flags);
long read(int fd, void *data, size_t size);
long write(int fd, const void *data, size_t size);
int close(int fd);
int dup2(int from, int to);
int open(const char *path, int flags, ...);
int fcntl(int fd, int command, ...);
int epoll_create1(int flags);
int epoll_ctl(int epoll, int operation, int fd, struct fks_test_event *event);
int epoll_wait(int epoll, struct fks_test_event *events, int count, int milliseconds);
int eventfd(unsigned value, int flags);
int timerfd_create(int clock, int flags);
int timerfd_settime(int fd, int flags, const struct fks_test_timer *new, struct fks_test_timer *old);
int timerfd_gettime(int fd, struct fks_test_timer *out);
int inotify_init1(int flags);
long syscall(long number, ...);
]]

local C = ffi.C
local M = { C = C, CLOEXEC = 0x80000, NONBLOCK = 0x800 }

local MSG_NOSIGNAL, MSG_DONTWAIT = 0x4000, 0x40

--- A connection to 127.0.0.1:PORT.
function M.connect(port)
  local fd = C.socket(2, 1, 0)
  local swapped = bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
  local address = ffi.new("struct fks_test_in", 2, swapped, 0x0100007f)
  assert(C.connect(fd, address, 16) == 0, "connect")
  return fd
end

--- What comes back for "ping": "ping", "end" where the connection has ended, "error" and its number.
function M.ping(fd)
  local buffer = ffi.new "char[8]"
  if C.send(fd, "ping", 4, MSG_NOSIGNAL) < 0 then
    return "error " .. ffi.errno()
  end
  local got = tonumber(C.recv(fd, buffer, 4, 0))
  return got > 0 and ffi.string(buffer, got) or got == 0 and "end" or "error " .. ffi.errno()
end

--- What reading gives without waiting.
function M.peek(fd)
  local got = tonumber(C.recv(fd, ffi.new "char[8]", 4, MSG_DONTWAIT))
  return got == 0 and "end" or got > 0 and "data" or "error " .. ffi.errno()
end

--- FD_CLOEXEC and O_NONBLOCK of a descriptor, as "cloexec nonblock".
function M.flags(fd)
  local cloexec, status = C.fcntl(fd, 1), C.fcntl(fd, 3)
  return (cloexec % 2 == 1 and "cloexec" or "-") .. " " .. (bit.band(status, M.NONBLOCK) ~= 0 and "nonblock" or "-")
end

function M.set_flags(fd)
  C.fcntl(fd, 2, ffi.cast("int", 1))
  C.fcntl(fd, 4, ffi.cast("int", M.NONBLOCK))
end

--- The count of an eventfd, which is 0 afterwards; nil where it is 0 already.
function M.take(fd)
  local value = ffi.new "uint64_t[1]"
  return C.read(fd, value, 8) == 8 and tonumber(value[0]) or nil
end

function M.epoll_add(epoll, fd)
  local event = ffi.new("struct fks_test_event", 1, fd)
  assert(C.epoll_ctl(epoll, 1, fd, event) == 0, "epoll_ctl")
end

--- The descriptors that are ready, as "number:events", sorted.
function M.ready(epoll)
  local events, list = ffi.new "struct fks_test_event[16]", {}
  for i = 1, C.epoll_wait(epoll, events, 16, 0) do
    list[i] = tonumber(events[i - 1].data) .. ":" .. events[i - 1].events
  end
  table.sort(list)
  return table.concat(list, " ")
end

function M.timer(seconds)
  local fd = C.timerfd_create(1, M.CLOEXEC + M.NONBLOCK)
  C.timerfd_settime(fd, 0, ffi.new("struct fks_test_timer", 0, 0, seconds, 0), nil)
  return fd
end

function M.set_timer(fd, seconds)
  C.timerfd_settime(fd, 0, ffi.new("struct fks_test_timer", 0, 0, seconds, 0), nil)
end

--- Seconds until it expires, rounded up.
function M.timer_left(fd)
  local left = ffi.new "struct fks_test_timer"
  C.timerfd_gettime(fd, left)
  return tonumber(left.seconds) + (left.nanoseconds > 0 and 1 or 0)
end

function M.io_uring()
  return tonumber(C.syscall(425, ffi.cast("unsigned", 4), ffi.new "char[120]"))
end

return M
