-- SPDX-License-Identifier: MIT
--
-- uWSGI's spec with the newest uWSGI, and the plugin and the library of a build that was made for it.
local paths = require "support.paths"
local build = paths.build .. "/newest"

require("support.newest").again("uwsgi", {
  uwsgi = paths.newest .. "/bin/uwsgi", uwsgi_has_plugins = true, uwsgi_plugin = build .. "/adapters/uwsgi/forksafe_plugin.so",
  build = build, library = build .. "/runtime/libforksafe.so",
})
