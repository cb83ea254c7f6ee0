std = "luajit"
max_line_length = 150
exclude_files = { "build*" }

-- Specs hold long scripts and long sentences.
files["tests"] = { max_line_length = false }
files["tests/**/*_spec.lua"] = { std = "+busted" }

-- What the library gives to a script.
files["examples/**/*.lua"] = { read_globals = { "forksafe" } }
for _, path in ipairs { "examples/apache/app.lua", "tests/data/apache/pid.lua" } do -- for mod_lua
  files[path] = { globals = { "handle" }, read_globals = { "apache2" } }
end
files["tests/data/**/hooks/*.lua"] = { read_globals = { "forksafe" } }
files["lua/**/*.lua"] = { read_globals = { "forksafe" } }
files["lua/library"] = { globals = { "forksafe" }, ignore = { "212" } } -- types for editors: bodies are empty
