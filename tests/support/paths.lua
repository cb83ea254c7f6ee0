-- SPDX-License-Identifier: MIT
--
-- Where things are: the source tree this file lies in, and the build under test. Runs in the test process.
-- FORKSAFE_BUILD names another build directory than ./build.
local stdlib = require "posix.stdlib"

local here = debug.getinfo(1, "S").source:match("^@(.*)$")
local root = assert(stdlib.realpath(here:match("^(.*)/[^/]*$") .. "/../.."))
local build = stdlib.getenv "FORKSAFE_BUILD" or root .. "/build"

return {
  root = root,
  build = build,
  command = build .. "/runtime/forksafe",
  library = build .. "/runtime/libforksafe.so",
  include = root .. "/runtime/include",
  uwsgi_plugin = build .. "/adapters/uwsgi/forksafe_plugin.so",
  nginx_module = build .. "/adapters/nginx/ngx_forksafe_module.so",
  python = build .. "/python",
  newest = build .. "/venv-newest",
  data = root .. "/tests/data",
  support = root .. "/tests/support",
}
