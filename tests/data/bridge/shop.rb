# SPDX-License-Identifier: MIT
#
# An application with something in it that hooks call.
module Shop
  autoload :Nowhere, "nowhere"

  Store = Struct.new(:dsn) do
    def connect!(dsn, retries: 1)
      self.dsn = "#{dsn}, #{retries} retries"
    end
  end

  class << self
    def store
      @store ||= Store.new("inherited")
    end

    def same(value)
      value
    end

    def told(*arguments, **keywords)
      [arguments, keywords].inspect
    end

    def many_kinds
      [1, 2.5, "é", true, :symbol, "\xff\x00", 1..2, 2**60]
    end

    def mapping
      { a: 1, "b" => nil, c: "text", d: [1, 2] }
    end

    def fail_now
      raise ArgumentError, "no such shop"
    end

    # What a signal handler of the host does: an event within an event.
    def signal_us
      trap("USR1") { $emit.call(4, 7) }
      Process.kill("USR1", Process.pid)
      sleep 0.05
      "after the handler"
    end

    def fork_once
      pid = fork { exit!(5) }
      Process.wait(pid)
      $?.exitstatus
    end

    def start_threads(number)
      number.times { Thread.new { loop { 1000.times { "x" * 10 } } } }
      nil
    end

    def collect
      Array.new(1000) { "y" * 1000 }
      GC.start
      nil
    end
  end
end
