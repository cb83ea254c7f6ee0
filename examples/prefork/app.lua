-- The work of a worker: answers HTTP on 127.0.0.1 with its number and pid. All workers listen on the one port, and the
-- kernel spreads the connections. It runs after the hooks, with LuaJIT's full library set.
local worker, settings = ...
local ffi = require "ffi"

ffi.cdef [[
struct in_address { uint16_t family, port; uint32_t address; char zero[8]; };
int socket(int family, int type, int protocol);
int setsockopt(int fd, int level, int name, const void *value, unsigned size);
int bind(int fd, const struct in_address *address, unsigned size);
int listen(int fd, int backlog);
int accept4(int fd, void *address, void *size, int flags);
long read(int fd, void *buffer, unsigned long size);
long send(int fd, const void *buffer, unsigned long size, int flags);
int close(int fd);
int getpid(void);
uint16_t htons(uint16_t number);
]]

local AF_INET, SOCK_STREAM, SOCK_CLOEXEC = 2, 1, 0x80000
local SOL_SOCKET, SO_REUSEADDR, SO_REUSEPORT, MSG_NOSIGNAL = 1, 2, 15, 0x4000

local function check(result, what)
  if result < 0 then
    error(("%s: error %d"):format(what, ffi.errno()), 2)
  end
  return result
end

local function listen_on(port)
  local fd = check(ffi.C.socket(AF_INET, SOCK_STREAM + SOCK_CLOEXEC, 0), "socket")
  local on = ffi.new("int[1]", 1)
  for _, option in ipairs { SO_REUSEADDR, SO_REUSEPORT } do
    check(ffi.C.setsockopt(fd, SOL_SOCKET, option, on, 4), "setsockopt")
  end
  local address = ffi.new("struct in_address", { family = AF_INET, port = ffi.C.htons(port) })
  ffi.copy(ffi.cast("char *", address) + 4, "\127\0\0\1", 4)
  check(ffi.C.bind(fd, address, ffi.sizeof(address)), "bind to 127.0.0.1:" .. port)
  check(ffi.C.listen(fd, 64), "listen")
  return fd
end

local function answer(connection, buffer)
  ffi.C.read(connection, buffer, ffi.sizeof(buffer))
  local body = ("worker %d, pid %d\n"):format(worker, ffi.C.getpid())
  local text = ("HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
  ffi.C.send(connection, text, #text, MSG_NOSIGNAL)
  ffi.C.close(connection)
end

local listener = listen_on(tonumber(settings["listen.port"]))
local buffer = ffi.new("char[4096]")
while true do
  local connection = ffi.C.accept4(listener, nil, nil, SOCK_CLOEXEC)
  if connection >= 0 then
    answer(connection, buffer)
  end
end
