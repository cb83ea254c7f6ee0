# SPDX-License-Identifier: MIT
#
# A connection of ActiveRecord's that is open before the fork; says which backend serves it, where, and which pool it is of.
require "active_record"

ActiveRecord::Base.establish_connection(ENV.fetch("DATABASE_URL"))

def say(where)
  puts "#{where} #{ActiveRecord::Base.connection.select_value('select pg_backend_pid()')}"
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
