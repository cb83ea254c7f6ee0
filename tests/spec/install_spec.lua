-- SPDX-License-Identifier: MIT
--
-- What `cmake --install` puts into a prefix works there: the command, the library, headers and pkg-config file, with
-- nothing of the source tree or the build directory.
local stdlib = require "posix.stdlib"
local support = require "support"

local root, build = support.paths.root, support.paths.build
local version = support.read(root .. "/CMakeLists.txt"):match "project%(forksafe VERSION ([%d.]+)"

local prefix

local function installed(pattern)
  for _, path in ipairs(support.all_files(prefix)) do
    if path:find(pattern) then
      return path
    end
  end
  support.fail(("no file that matches '%s' in:\n%s"):format(pattern, table.concat(support.all_files(prefix), "\n")), 2)
end

-- An application outside of the source tree.
local function make_application()
  local directory = support.tmpdir()
  support.write(directory .. "/hooks/postfork.lua", [[
return function(event) forksafe.log.info("worker %s of %s", event.worker, event.container) end
]])
  return support.write(directory .. "/production.ini",
    "[app:main]\nuse = egg:myapp\nforksafe.scripts = %(here)s/hooks\n")
end

setup(function()
  prefix = support.tmpdir() .. "/usr"
  support.must_run { "cmake", "--install", build, "--prefix", prefix, timeout = 60 }
  os.remove(build .. "/install_manifest.txt") -- written into the build directory, which another user may own
end)

describe("the installed command", function()
  it("tells its version", function()
    assert.equal("forksafe " .. version .. "\n", support.must_run { installed "/bin/forksafe$", "--version" })
  end)

  it("runs hooks in real workers and shows them afterwards", function()
    local command, ini = installed "/bin/forksafe$", make_application()
    local result = support.run { command, "prefork", "--workers", "2", "--once", ini, cwd = "/" }
    assert.equal(0, result.code, result.output)
    assert.matches("worker 1 of prefork", result.output)
    assert.matches("worker 2 of prefork", result.output)
    local text = support.must_run { command, "debug", "--previous", ini, cwd = "/" }
    assert.matches('"ApplicationPostFork"', text)
  end)
end)

describe("the installed library", function()
  local function pkg_config(...)
    local argv = { "pkg-config", ... }
    argv.env = { PKG_CONFIG_PATH = installed("/forksafe%.pc$"):match "^(.*)/" }
    return (support.must_run(argv):gsub("%s+$", ""))
  end

  it("is what pkg-config describes", function()
    assert.equal(version, pkg_config("--modversion", "forksafe"))
    assert.equal(prefix, stdlib.realpath(pkg_config("--variable=prefix", "forksafe")))
  end)

  it("builds and runs a host with what pkg-config says", function()
    local directory = support.tmpdir()
    local source = support.write(directory .. "/host.c", support.read(support.paths.support .. "/installed_host.c"))
    local flags = pkg_config("--cflags", "--libs", "forksafe")
    local libdir = pkg_config("--variable=libdir", "forksafe")
    support.must_run {
      "sh", "-c", "exec gcc -Wall -Wextra -Werror -o host " .. source .. " " .. flags .. " -Wl,-rpath," .. libdir,
      cwd = directory, timeout = 60,
    }
    local result = support.run { directory .. "/host", make_application(), cwd = "/" }
    assert.equal(0, result.code, result.output)
    assert.matches("worker 1 of installedhost", result.output)
    assert.matches("forksafe " .. version:gsub("%.", "%%."), result.stdout)
    assert.matches('"containers.installedhost.post_fork"', result.stdout)
  end)

  it("has the headers of hosts and readers, and each compiles alone", function()
    local flags = pkg_config("--cflags", "forksafe")
    for _, header in ipairs { "forksafe.h", "events.h", "journal_layout.h" } do
      local path = installed("/include/forksafe/" .. header:gsub("%.", "%%.") .. "$")
      support.must_run { "sh", "-c", ("exec gcc -std=gnu11 -Wall -Wextra -Werror -fsyntax-only %s -x c %s")
        :format(flags, path) }
    end
  end)
end)

describe("what is installed", function()
  -- Debugging sections tell where sources were compiled, and are read by debuggers only.
  local function stripped(path)
    local text = support.read(path)
    if text:sub(1, 4) ~= "\127ELF" then
      return text
    end
    local copy = support.tmpdir() .. "/stripped"
    support.must_run { "strip", "-o", copy, path }
    return support.read(copy)
  end

  it("names neither the source tree nor the build directory", function()
    for _, path in ipairs(support.all_files(prefix)) do
      local text = stripped(path)
      for _, place in ipairs { root .. "/", build .. "/" } do
        assert.is_nil(text:find(place, 1, true), path .. " has the path " .. place)
      end
    end
  end)

  it("finds its libraries without a path of this machine", function()
    for _, path in ipairs { installed "/bin/forksafe$", installed "/libforksafe%.so%.[%d.]+$" } do
      local dynamic = support.must_run { "readelf", "-d", path }
      local run_path = dynamic:match "R[UN]*PATH[^\n]*%[([^\n]*)%]" or ""
      assert.is_nil(run_path:find(build, 1, true), path .. " has the run path " .. run_path)
    end
  end)
end)
