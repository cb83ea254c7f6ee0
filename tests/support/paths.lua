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
  apache_module = build .. "/adapters/apache/mod_forksafe.so",
  python = build .. "/python",
  ruby = build .. "/ruby/lib",
  newest = build .. "/venv-newest",
  -- The servers under test: Debian's, until a spec of tests/newest puts another here before it runs that server's spec.
  uwsgi = "uwsgi",
  uwsgi_has_plugins = false, -- true: python and http are in the program itself
  gunicorn = "/usr/bin/gunicorn",
  pserve = { "/usr/bin/pserve3" },
  celery = { "/usr/bin/python3", "/usr/bin/celery" },
  interpreter = "/usr/bin/python3",
  data = root .. "/tests/data",
  support = root .. "/tests/support",
}
