# SPDX-License-Identifier: MIT
#
# The application that bridge_ruby_spec.lua serves: answers with its pid and with what its store is connected to.
require_relative "shop"

run(lambda do |_env|
  body = "#{Process.pid} #{Shop.store.dsn}"
  [200, { "Content-Type" => "text/plain", "Content-Length" => body.bytesize.to_s }, [body]]
end)
