# SPDX-License-Identifier: MIT
#
# The smallest pre-forking server in Ruby: opens forksafe through Fiddle, forks one worker, which fires PostFork.
#
#     host.rb LIBRARY INI [FILE...]    FILE: what the application has loaded before the fork
#
# Of the methods that a file defines, before_fork is called in the master, in_worker in the worker after its hooks, in_master at the end.
# FORK=raw forks past Ruby, as a server in C does; GVL=no calls in without the lock; ATFORK=1 leaves PostFork to the library's atfork
# handler. Ends with 0 when its worker did.
require "fiddle"

library, ini, *files = ARGV
files.each { |file| load file }

POST_FORK, WORKER_EXIT = 2, 4 # enum forksafe_event
ATFORK = ENV["ATFORK"] ? 1 : 0
VOID, INT = Fiddle::TYPE_VOIDP, Fiddle::TYPE_INT
LIBRARY = Fiddle.dlopen(library)
OPEN = Fiddle::Function.new(LIBRARY["forksafe_open"], [VOID], INT, need_gvl: true)
EMIT = Fiddle::Function.new(LIBRARY["forksafe_emit"], [INT, VOID], INT, need_gvl: ENV["GVL"] != "no")
LOG = Fiddle::Closure::BlockCaller.new(Fiddle::TYPE_VOID, [VOID, INT, VOID]) { |_, _, line| $stdout.puts line.to_s }

def pointer(text)
  (@kept ||= []) << Fiddle::Pointer[text]
  @kept.last.to_i
end

$stdout.sync = true
points = [POST_FORK, ATFORK, pointer("post_fork\0"), WORKER_EXIT, 0, pointer("worker_exit\0")].pack("llQllQ")
host = [ # struct forksafe_host
  104, 2, pointer("host\0"), pointer("host\0"), 0, pointer(ini + "\0"), pointer(points), 0, 2**32 - 1, 2**32 - 1, 0, LOG.to_i, 0, 0, 0
].pack("LLQQQQQlLLx4QQQQQ")
code = OPEN.call(host)
exit 2 unless code.zero?

$emit = lambda do |event, worker = 1|
  occasion = [32, 0, worker, 1, 1, 0, 0, 0].pack("Ll7") # struct forksafe_occasion
  Thread.handle_interrupt(Object => :never) { EMIT.call(event, occasion) } # nothing may unwind through the library
end
work = lambda do
  puts "verdict #{ATFORK.zero? ? $emit.call(POST_FORK) : 0}"
  sleep ENV.fetch("PAUSE", "0").to_f
end

each = ->(name) { send(name) if respond_to?(name, true) }
each.call(:before_fork)
raw_fork = Fiddle::Function.new(Fiddle.dlopen(nil)["fork"], [], INT, need_gvl: true)
pid = ENV["FORK"] == "raw" ? raw_fork.call : (fork || 0)
if pid.zero?
  work.call
  each.call(:in_worker)
  exit!(0)
end
Process.wait(pid)
status = $?.exitstatus || 1
each.call(:in_master)
exit(status)
