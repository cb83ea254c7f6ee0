-- Runs in Apache's children, in mod_lua.
function handle(request)
  local stat = io.open "/proc/self/stat"
  request:puts("served by process " .. stat:read("*l"):match "^%d+" .. "\n")
  stat:close()
  return apache2.OK
end
