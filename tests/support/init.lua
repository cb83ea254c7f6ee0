-- SPDX-License-Identifier: MIT
--
-- `local support = require "support"`: what the specs share. Real processes, files and servers; everything that a test
-- makes is ended and removed after it without being asked (helper.lua). Runs in the test process. See README.md.
local debug_object = require "support.debug_object"
local files = require "support.files"
local http = require "support.http"
local paths = require "support.paths"
local process = require "support.process"
local procfs = require "support.procfs"
local scope = require "support.scope"
local wait = require "support.wait"

return {
  paths = paths,
  defer = scope.defer,
  cleanup = scope.cleanup,

  tmpdir = files.tmpdir,
  write = files.write,
  read = files.read,
  remove = files.remove,
  give = files.give,
  all_files = files.all_files,
  without_line = files.without_line,
  with_text = files.with_text,

  spawn = process.spawn,
  run = process.run,
  must_run = process.must_run,
  adopt = process.adopt,
  orphans = process.orphans,
  left_behind = process.left_behind,
  runtime_dir = process.runtime_dir,

  alive = procfs.alive,
  info = procfs.info,
  start_time = procfs.start_time,
  children = procfs.children,
  descendants = procfs.descendants,
  command_line = procfs.command_line,
  fds = procfs.fds,

  now = wait.now,
  sleep = wait.sleep,
  eventually = wait.eventually,
  fail = wait.fail,
  fails = wait.fails,

  http_get = http.get,
  http_wait = http.wait,
  free_port = http.free_port,

  null = debug_object.null,
  debug = debug_object.debug,
  executed_hooks = debug_object.executed_hooks,
  records_of = debug_object.records_of,
  pids_of = debug_object.pids_of,
}
