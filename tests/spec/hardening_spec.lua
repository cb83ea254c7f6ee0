-- SPDX-License-Identifier: MIT
--
-- What the compiler and the linker were told to put into everything that is built (CMakeLists.txt), read back from the files with readelf.
-- A build with sanitizers, or without optimisation, is another build.
local support = require "support"

local build = support.paths.build
local MACHINE = support.must_run({ "uname", "-m" }):match "%S+"

-- Files that a host or a user loads. The last is static: it has no dynamic section, and is not position independent because
-- libjansson's archive is not.
local LOADED = {
  support.paths.library, support.paths.command, support.paths.uwsgi_plugin, support.paths.nginx_module, support.paths.apache_module,
  build .. "/adapters/preload/libforksafe_preload.so",
}
local STATIC = build .. "/runtime/forksafe-doctor"

local cache = support.read(build .. "/CMakeCache.txt")
local plain = cache:find "FORKSAFE_SANITIZE:STRING=\n" and not cache:find "CMAKE_BUILD_TYPE:STRING=Debug\n"

local function readelf(options, path)
  return support.must_run { "readelf", options, "-W", path }
end

-- The objects that a target is made of, by the path they lie under.
local function objects(directory)
  local list = {}
  for _, path in ipairs(support.all_files(build .. "/" .. directory)) do
    if path:find "%.c%.o$" then
      table.insert(list, path)
    end
  end
  assert.is_true(#list > 0, directory)
  return list
end

-- Whether the linker finds this note in the system's start files: where one object has it not, a linked file has it not.
local function system_has(note)
  local crti = support.must_run({ "cc", "-print-file-name=crti.o" }):match "%S+"
  return readelf("-n", crti):find(note, 1, true) ~= nil
end

describe("what is built", function()
  it("has its relocations read-only and bound before it runs, and no executable stack", function()
    for _, path in ipairs { STATIC, unpack(LOADED) } do
      local segments = readelf("-l", path)
      assert.matches("GNU_RELRO", segments, 1, true)
      assert.matches("GNU_STACK%s+%S+ %S+ %S+ %S+ %S+ RW +0x", segments)
      assert.is_nil(segments:match "LOAD[^\n]* RWE [^\n]*", path)
    end
    for _, path in ipairs(LOADED) do
      local dynamic = readelf("-d", path)
      assert.matches("FLAGS_1[^\n]*NOW", dynamic, 1, false)
      assert.is_nil(dynamic:match "TEXTREL", path)
    end
  end)

  it("can be loaded anywhere, the command too", function()
    for _, path in ipairs(LOADED) do
      assert.matches("Type:%s+DYN", readelf("-h", path))
    end
    assert.matches("FLAGS_1[^\n]*PIE", readelf("-d", support.paths.command))
  end)

  it("looks after its stack and the buffers of libc's functions", function()
    if not plain then
      return
    end
    for _, path in ipairs { support.paths.library, support.paths.command, build .. "/adapters/preload/libforksafe_preload.so" } do
      local names = support.must_run { "nm", "-D", "--undefined-only", path }
      assert.matches("__stack_chk_fail", names, 1, true)
      assert.matches("__snprintf_chk", names, 1, true)
    end
  end)

  it("was compiled with every hardening option, and each once", function()
    if not plain then
      return
    end
    local commands = require("cjson").decode(support.read(build .. "/compile_commands.json"))
    local seen = 0
    for _, one in ipairs(commands) do
      if one.file:find "/runtime/" or one.file:find "/adapters/" then
        seen = seen + 1
        for _, option in ipairs { "-fstack-protector-strong", "-fstack-clash-protection", "-Wconversion", "-Wnull-dereference" } do
          local _, count = one.command:gsub(" " .. option:gsub("%-", "%%-") .. "%f[%s]", "")
          assert.equal(1, count, option .. " in " .. one.command)
        end
        local _, fortified = one.command:gsub(" %-D_FORTIFY_SOURCE=[23]", "")
        assert.equal(1, fortified, one.command)
      end
    end
    assert.is_true(seen > 100, seen)
  end)

  it("marks where it may be jumped to, as far as the system's own files do", function()
    local notes = { x86_64 = { "IBT", "SHSTK" }, aarch64 = { "BTI", "PAC" } }
    for _, note in ipairs(notes[MACHINE] or {}) do
      for _, directory in ipairs { "runtime/CMakeFiles/forksafe_core.dir", "runtime/CMakeFiles/forksafe_command.dir", "adapters" } do
        for _, path in ipairs(objects(directory)) do
          assert.matches(note, readelf("-n", path), 1, true)
        end
      end
      for _, path in ipairs(LOADED) do
        assert.equal(system_has(note), readelf("-n", path):find(note, 1, true) ~= nil, path)
      end
    end
  end)
end)
