# SPDX-License-Identifier: MIT
#
# The application that the specs of Puma and Unicorn serve: half a second to load, answers with its pid. /exit ends the
# worker with status 3. Says where it was loaded, so that the test can see that no master did.
require "json"
require "forksafe"

sleep 0.5
warn "loaded in #{Process.pid}"

run(lambda do |env|
  sleep 0.02 # so that workers share the requests
  Process.exit!(3) if env["PATH_INFO"] == "/exit"
  body = env["PATH_INFO"] == "/debug" ? JSON.generate(Forksafe.debug) : Process.pid.to_s
  [200, { "Content-Type" => "text/plain", "Content-Length" => body.bytesize.to_s }, [body]]
end)
