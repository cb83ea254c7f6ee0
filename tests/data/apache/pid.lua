-- SPDX-License-Identifier: MIT
--
-- Answers with the pid of the process that serves the request, through mod_lua: its Lua is PUC Lua 5.3, in the same process as
-- forksafe's LuaJIT. Runs in Apache's children.
function handle(request)
  local stat = io.open "/proc/self/stat"
  local pid = stat:read("*l"):match "^%d+"
  stat:close()
  assert(_VERSION == "Lua 5.3")
  request:puts(pid)
  return apache2.OK
end
