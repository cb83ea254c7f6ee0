# SPDX-License-Identifier: MIT
#
# A connection of ruby-pg that is open before the fork; says which backend serves it, where.
require "pg"

$connection = PG.connect(ENV.fetch("DATABASE_URL"))

def say(where)
  puts "#{where} #{$connection.exec('select pg_backend_pid()').getvalue(0, 0)}"
end

def before_fork
  say "before"
end

def in_worker
  say "worker"
end

def in_master
  say "master"
end
