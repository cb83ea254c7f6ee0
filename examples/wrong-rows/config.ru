# SPDX-License-Identifier: MIT
#
# An application that connects to its database while it is loaded: in Puma's master, where preload_app! loads it. It resets a connection
# that was lost, as applications do. GET /N answers N, by way of the database.
require "pg"

DATABASE = PG.connect(ENV.fetch("DATABASE_URL"))
LOCK = Mutex.new

run(lambda do |environment|
  number = environment["PATH_INFO"][1..]
  begin
    row = LOCK.synchronize { DATABASE.exec_params("select $1::text || pg_sleep(0.005)::text", [number]).getvalue(0, 0) }
    [200, { "Content-Type" => "text/plain" }, [row]]
  rescue PG::Error => error
    LOCK.synchronize { DATABASE.reset }
    [503, { "Content-Type" => "text/plain" }, [error.message]]
  end
end)
