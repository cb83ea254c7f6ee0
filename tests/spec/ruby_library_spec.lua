-- SPDX-License-Identifier: MIT
--
-- How the Ruby package finds libforksafe.so: in a Ruby of its own, with and without a library where the system's loader looks.
local support = require "support"

local BUILD = support.paths.build .. "/runtime"
local LOADS = [[
  require "forksafe/library"
  p Forksafe::Library.debug_json
  Forksafe::Library.load
  p Forksafe::Library.debug_json
  puts File.foreach("/proc/self/maps").grep(/libforksafe/).map { |line| line.split.last }.uniq
]]

-- What a Ruby says that loads the library, and which it then has.
local function loaded(env, code)
  env.RUBYLIB = support.paths.ruby
  return support.must_run { "/usr/bin/ruby", "-e", (code or "") .. LOADS, env = env }
end

describe("the library for Ruby", function()
  it("is the build's where the system's loader finds none", function()
    assert.truthy(loaded({}):find("^nil\nnil\n" .. BUILD:gsub("%p", "%%%0") .. "/libforksafe%.so[%d.]*\n$"))
  end)

  it("is loaded where the system's loader finds one that is not loaded yet", function()
    assert.truthy(loaded({ LD_LIBRARY_PATH = BUILD }):find("^nil\nnil\n" .. BUILD:gsub("%p", "%%%0") .. "/libforksafe%.so[%d.]*\n$"))
  end)

  it("is the one that the process has", function()
    local other = support.tmpdir() .. "/libforksafe.so.0"
    support.must_run { "/bin/cp", "-L", support.paths.library, other }
    assert.equal("nil\nnil\n" .. other .. "\n", loaded({}, ("require 'fiddle'\nFiddle.dlopen(%q)\n"):format(other)))
  end)
end)
