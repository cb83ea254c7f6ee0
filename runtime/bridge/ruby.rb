# SPDX-License-Identifier: MIT
#
# The Ruby side of forksafe.ruby: evaluated once in a process of the application; its value is what C calls with a
# request, and which returns an answer, both as tapes (tape.h). No exception leaves it. What the host's signal handlers
# raise to end it (SystemExit, SignalException) is an error for Lua, and is raised again in its thread when that is back
# in Ruby.
Module.new do
  exact = 2**53
  not_loaded = Class.new(StandardError)
  shared = Object.new.instance_eval { binding } # the names that exec and eval of one process share

  # The value at `at` of a tape, and where the next one begins.
  read = lambda do |tape, at|
    tag = tape[at]
    at += 1
    case tag
    when "n" then next [nil, at]
    when "t" then next [true, at]
    when "f" then next [false, at]
    when "d"
      number = tape[at, 8].unpack1("d")
      whole = number.finite? && number.abs <= exact && number == number.to_i
      next [whole ? number.to_i : number, at + 8]
    end
    count = tape[at, 8].unpack1("Q")
    at += 8
    next [tape[at, count].force_encoding(Encoding::UTF_8), at + count] if tag == "s"
    items = Array.new(tag == "l" ? count : 2 * count) do
      item, at = read.call(tape, at)
      item
    end
    [tag == "l" ? items : Hash[*items], at]
  end

  # The tape of a value; what cannot cross as what it is crosses as its inspect.
  write = lambda do |value, flat = true|
    case value
    when nil then next "n".b
    when true then next "t".b
    when false then next "f".b
    when Float then next ["d", value].pack("ad")
    when Integer then next ["d", value].pack("ad") if value.abs <= exact
    when String, Symbol
      text = value.to_s.b
      next ["s", text.bytesize].pack("aQ") << text
    when Array
      next value.inject(["l", value.size].pack("aQ")) { |tape, item| tape << write.call(item, false) } if flat
    when Hash
      if flat && value.keys.all? { |key| key.is_a?(String) || key.is_a?(Symbol) }
        tape = ["m", value.size].pack("aQ")
        next value.inject(tape) { |all, (key, item)| all << write.call(key) << write.call(item, false) }
      end
    end
    write.call(value.inspect)
  end

  # What "MyApp::DB" names; constants that would first have to be loaded are not there.
  find = lambda do |path|
    path.split("::").inject(Object) do |scope, name|
      raise not_loaded unless scope.is_a?(Module) && scope.const_defined?(name) && !scope.autoload?(name)
      scope.const_get(name)
    end
  end

  call = lambda do |target, _where, arguments, keywords|
    constant, *methods = target.split(".")
    raise ArgumentError, "a target is 'Constant.method', this is #{target.inspect}" if methods.empty?
    last = methods.pop
    methods.inject(find.call(constant), :public_send).public_send(last, *arguments, **keywords.transform_keys(&:to_sym))
  end

  place = lambda do |where|
    path, line = where.match(/\A(.*):(\d+)\z/m)&.captures
    [path || "hook", (line || 1).to_i]
  end

  kinds = {
    "call" => call,
    "exec" => ->(source, where, *) { shared.eval(source, *place.call(where)) && nil },
    "eval" => ->(source, where, *) { shared.eval(source, *place.call(where)) },
  }

  # What it is in the first line, then Ruby's backtrace without our own frames.
  report = lambda do |error|
    error.full_message(highlight: false, order: :top).lines.reject { |line| line.include?("from <forksafe>:") }.join.chomp
  end

  raise_again = lambda do |error, thread|
    Thread.new { thread.raise(error) }
  end

  run = lambda do |tape|
    kind, what, where, arguments, keywords = read.call(["l", 5].pack("aQ") << tape, 0)[0]
    write.call("value") << write.call(kinds.fetch(kind).call(what, where, arguments, keywords))
  rescue not_loaded
    write.call("absent") << write.call("not loaded")
  rescue Exception => e # rubocop:disable Lint/RescueException
    raise_again.call(e, Thread.current) if e.is_a?(SystemExit) || e.is_a?(SignalException)
    write.call("error") << write.call(report.call(e))
  end

  define_singleton_method(:run, &run)
end
