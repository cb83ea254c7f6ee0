-- SPDX-License-Identifier: MIT
--
-- Promise 12: only trusted files execute. What a deployment looks like is loaded, and what somebody else can put in a file's place never
-- is, also while he does it. scripts_spec.lua has the plain cases, each with its line.
local ffi = require "ffi"
local lfs = require "lfs"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"
local journal = require "support.journal"
local promises = require "support.promises"
local said = require "support.server"
local servers = require "promises.servers"
local support = require "support"

ffi.cdef [[
struct fks_script { char *path, *name, *text; size_t length; uint64_t hash, mtime_ns; int event; bool module; };
struct fks_scripts { struct fks_script *items; size_t count; };
int fks_scripts_init(struct fks_scripts *out, const char *directory, unsigned ini_owner,
  void (*complain)(const struct fks_error *, void *), void *data, struct fks_error *error);
void fks_scripts_finish(struct fks_scripts *scripts);
]]

local OPENS = promises.number(6000, 66667) -- for each of three ways to swap
local NOBODY = 65534
local SWAPPER = support.paths.build .. "/tests/promises/swapper"

local scripts, failure = ffi.new "struct fks_scripts", ffi.new "struct fks_error"

-- The texts that a directory of scripts gives, by name; and the first complaint.
local complaint
local note = ffi.cast("void (*)(const struct fks_error *, void *)", function(error)
  complaint = complaint or ffi.string(error.text)
end)

local function load(directory, ini_owner)
  complaint = nil
  local texts = {}
  if journal.C.fks_scripts_init(scripts, directory, ini_owner or 0, note, nil, failure) ~= 0 then
    return texts, ffi.string(failure.text)
  end
  for i = 0, tonumber(scripts.count) - 1 do
    local script = scripts.items[i]
    texts[ffi.string(script.name)] = ffi.string(script.text, script.length)
  end
  journal.C.fks_scripts_finish(scripts)
  return texts, complaint
end

require("jit").off(load) -- compiled code cannot be called back

-- A process of nobody's that exchanges two names.
local function swap(one, other)
  local swapper = support.spawn { SWAPPER, one, other, uid = NOBODY }
  swapper:wait_for "swapping"
  return swapper
end

-- Loads a directory many times. How often the trusted text was loaded, and how often the other one.
local function count_loaded(directory)
  local good, evil = 0, 0
  for _ = 1, OPENS do
    for _, text in pairs((load(directory))) do
      good = good + (text == "good" and 1 or 0)
      evil = evil + (text == "evil" and 1 or 0)
    end
  end
  return good, evil
end

-- A directory of nobody's, and in it one with a file of root's: it passes every look at the file itself.
local function place_of_nobody()
  local place = support.tmpdir()
  support.write(place .. "/theirs/x.postfork.lua", "evil")
  unistd.chown(place .. "/theirs", NOBODY, NOBODY)
  unistd.chown(place, NOBODY, NOBODY)
  return place
end

local function trusted_place()
  local place = support.tmpdir()
  support.write(place .. "/x.postfork.lua", "good")
  return place
end

local function assert_none(directory, swapper)
  local good, evil = count_loaded(directory)
  assert.is_true(swapper:alive(), swapper:output())
  assert.equal(0, evil)
  assert.is_true(good > 0, "the trusted file was never there")
end

describe("promise 12: against somebody who swaps", function()
  promises.it(12, "library", ("a link that a script is, %d loads take the trusted file or none"):format(OPENS), function()
    local place, hooks = place_of_nobody(), support.tmpdir()
    unistd.link(place .. "/theirs/x.postfork.lua", place .. "/one", true)
    unistd.link(trusted_place() .. "/x.postfork.lua", place .. "/other", true)
    unistd.link(place .. "/one", hooks .. "/x.postfork.lua", true)
    assert_none(hooks, swap(place .. "/one", place .. "/other"))
  end)

  promises.it(12, "library", ("a link on the way to the directory, %d loads take the trusted file or none"):format(OPENS), function()
    local place = place_of_nobody()
    unistd.link(place .. "/theirs", place .. "/current", true)
    unistd.link(trusted_place(), place .. "/other", true)
    assert_none(place .. "/current", swap(place .. "/current", place .. "/other"))
  end)

  promises.it(12, "library", ("files in a sticky directory, %d loads take the trusted file or none"):format(OPENS), function()
    local hooks = support.tmpdir()
    stat.chmod(hooks, tonumber("1777", 8))
    support.write(hooks .. "/x.postfork.lua", "evil")
    unistd.link(trusted_place() .. "/x.postfork.lua", hooks .. "/.other", true)
    unistd.chown(hooks .. "/x.postfork.lua", NOBODY, NOBODY)
    support.must_run { "chown", "-h", ("%d:%d"):format(NOBODY, NOBODY), hooks .. "/.other" }
    assert_none(hooks, swap(hooks .. "/x.postfork.lua", hooks .. "/.other"))
  end)
end)

describe("promise 12: scripts are loaded", function()
  -- What loads in a child with this user and umask; `prepare` runs before, as root.
  local function assert_loads(directory, expected, line, owner)
    local texts, why = load(directory, owner)
    assert.same(expected, texts, why)
    if line then
      assert.truthy(why:find(line, 1, true), why)
    end
  end

  -- As kubelet lays a volume out: names lead to ..data, which leads to a directory with a date; everybody may write, and nobody can.
  local function config_map()
    local volume = support.tmpdir()
    support.write(volume .. "/..2026_01_01/x.postfork.lua", "good")
    unistd.link("..2026_01_01", volume .. "/..data", true)
    unistd.link("..data/x.postfork.lua", volume .. "/x.postfork.lua", true)
    for _, path in ipairs { volume, volume .. "/..2026_01_01", volume .. "/..2026_01_01/x.postfork.lua" } do
      stat.chmod(path, tonumber("777", 8))
    end
    return volume
  end

  local function bind(source, target, options)
    support.must_run { "mount", "--bind", source, target }
    support.defer(function()
      support.must_run { "umount", target }
    end)
    if options then
      support.must_run { "mount", "-o", "remount,bind," .. options, target }
    end
    return target
  end

  promises.it(12, "library", "from a ConfigMap: mode 0777 and linked, on a mount that is read-only", function()
    local volume = config_map()
    assert_loads(volume, {}, "everybody may write it")
    assert_loads(bind(volume, support.tmpdir(), "ro"), { ["x.postfork.lua"] = "good" })
  end)

  promises.it(12, "library", "from a bind mount, whatever lies above its source", function()
    local open = support.tmpdir()
    support.write(open .. "/hooks/x.postfork.lua", "good")
    stat.chmod(open, tonumber("777", 8))
    assert_loads(open .. "/hooks", {}, "everybody may write it")
    assert_loads(bind(open .. "/hooks", support.tmpdir()), { ["x.postfork.lua"] = "good" })
  end)

  promises.it(12, "library", "from a deploy user's checkout under umask 002, by him, and by root when the ini is his and only he may write", function()
    local home = support.tmpdir()
    support.write(home .. "/app/hooks/x.postfork.lua", "good")
    support.give(home, 1000)
    for _, path in ipairs { home .. "/app", home .. "/app/hooks" } do
      stat.chmod(path, tonumber("775", 8))
    end
    stat.chmod(home .. "/app/hooks/x.postfork.lua", tonumber("664", 8))
    assert_loads(home .. "/app/hooks", {}, "its group may write it, and the server is started as root; chmod g-w", 1000)
    support.must_run { "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", support.paths.command, "test", "--event", "postfork",
      support.write(home .. "/app/production.ini", "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n")
        and support.write(home .. "/app/hooks/x.postfork.lua", "return function() end") and home .. "/app/production.ini" }
    support.must_run { "chmod", "-R", "g-w", home .. "/app" }
    support.write(home .. "/app/hooks/x.postfork.lua", "good")
    assert_loads(home .. "/app/hooks", { ["x.postfork.lua"] = "good" }, nil, 1000)
    assert_loads(home .. "/app/hooks", {}, "it belongs to another user", 0)
  end)

  promises.it(12, "library", "from a sticky directory, those of trusted owners only", function()
    local hooks = support.tmpdir()
    stat.chmod(hooks, tonumber("1777", 8))
    support.write(hooks .. "/ours.postfork.lua", "good")
    support.write(hooks .. "/theirs.postfork.lua", "evil")
    unistd.chown(hooks .. "/theirs.postfork.lua", NOBODY, NOBODY)
    assert_loads(hooks, { ["ours.postfork.lua"] = "good" }, "theirs.postfork.lua: not loaded: it belongs to another user")
  end)

  promises.it(12, "library", "and what is a directory, or leads nowhere, keeps none of the others away", function()
    local hooks = trusted_place()
    lfs.mkdir(hooks .. "/dir.postfork.lua")
    unistd.link("/nowhere", hooks .. "/gone.postfork.lua", true)
    assert_loads(hooks, { ["x.postfork.lua"] = "good" })
  end)
end)

-- What a shell does with the application's directory, in a mount namespace of its own, before it becomes the server.
local LAYOUTS = {
  {
    name = "a ConfigMap: its names lead through ..data, everybody may write, and it is mounted read-only",
    commands = [[
      mkdir hooks/..2026_01_01; mv hooks/*.lua hooks/..2026_01_01; ln -s ..2026_01_01 hooks/..data
      for file in hooks/..data/*; do ln -s "..data/${file##*/}" hooks; done
      chmod -R 777 hooks; mount --bind hooks hooks; mount -o remount,bind,ro hooks]],
  },
  {
    name = "the same, which can be written",
    commands = "chmod -R 777 hooks",
    line = "everybody may write it",
  },
  {
    name = "a bind mount of what lies where everybody may write",
    commands = "mkdir open; chmod 777 open; mv hooks open; mkdir hooks; mount --bind open/hooks hooks",
  },
  {
    name = "a deploy user's checkout, by root, where only he may write",
    commands = "chown -R 1000:1000 .; chmod -R g-w,o-w .",
  },
  {
    name = "the same under umask 002, by root",
    commands = "chown -R 1000:1000 .; chmod -R g+w .",
    line = "its group may write it, and the server is started as root; chmod g-w",
  },
  { name = "a deploy user's checkout under umask 002, by himself", commands = "chmod -R g+w .; umask 002", uid = 1000 },
}

local function start_in(container, layout)
  local unshare = layout.uid and {} or { "/usr/bin/unshare", "-m" }
  local wrap = { "/bin/sh", "-ec", layout.commands .. '\nexec "$@"', "sh" }
  for i, word in ipairs(unshare) do
    table.insert(wrap, i, word)
  end
  return servers.start(container, { wrap = wrap, uid = layout.uid, hooks = { ["x.postfork.lua"] = "return function() end" } })
end

for _, container in ipairs { "prefork", "uwsgi", "gunicorn", "nginx", "preload" } do -- the others are not started by the test itself
  describe("promise 12: " .. container .. " with the scripts of", function()
    for _, layout in ipairs(LAYOUTS) do
      promises.it(12, container, layout.name .. (layout.line and ": none, in a line" or ""), function()
        local server = start_in(container, layout)
        if layout.line then
          servers.assert_serves(server)
          assert.truthy(said.log(server):find(layout.line, 1, true), said.log(server))
          assert.same({}, said.said(server, "PostFork"))
          return
        end
        servers.wait_started(server)
        servers.assert_serves(server)
        assert.is_nil(said.log(server):find("not loaded", 1, true), said.log(server))
      end)
    end
  end)
end
