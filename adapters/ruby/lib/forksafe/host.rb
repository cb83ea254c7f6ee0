# SPDX-License-Identifier: MIT
#
# What every adapter written in Ruby does with the library: open, emit, log. One Host a process, made by an adapter in
# the master; workers have it by the fork. Nothing here raises because forksafe is missing or misconfigured: that is
# one line in the server's log, and the server runs on.
# frozen_string_literal: true

require "forksafe/library"

module Forksafe
  class Host
    LEVELS = %i[debug info warn error].freeze # enum forksafe_log_level, as Ruby's loggers call them
    EVENTS = Build::EVENTS.keys.each_with_index.to_h.freeze
    ROLES = Build::ROLES.each_with_index.to_h.freeze

    # What the library calls with each line of its log. Addresses come as numbers: while Fiddle makes pointers of them,
    # a trap can run before our first line.
    class OnLine < Fiddle::Closure
      def initialize(host)
        super(Fiddle::TYPE_VOID, [Fiddle::TYPE_UINTPTR_T, Fiddle::TYPE_INT, Fiddle::TYPE_UINTPTR_T])
        @host = host
      end

      def call(_data, level, line)
        @host.library_says(LEVELS.fetch(level, :error), Fiddle::Pointer.new(line).to_s)
        Thread.pass # signals that are due are handled here, not on the way back into the library
      rescue Exception => error # rubocop:disable Lint/RescueException
        @host.put_off(error)
      end
    end

    # `log` gets a level and a line for the server's own log.
    def initialize(container, environment, &log)
      @container, @environment, @log = container, environment, log
      @on_line = OnLine.new(self)
    end

    # Writes one line to the server's log; a log that cannot be written is no reason to raise.
    def log(level, line)
      @log.call(level, line)
    rescue StandardError
      nil
    end

    # forksafe_open: `points` maps keys of EVENTS to the server's names. The first time or a reload. Returns 0 or one
    # of Build::ERRORS; ENOENT where there is no library. What failed stands in the log. `known`: the audit's findings
    # that are this server's own business, a list of patterns.
    def open(ini, version, points, master: 0, uid: -1, gid: -1, cannot: 0, known: [])
      Library.load
      table = table_of(points)
      texts = { container: @container, environment: @environment, version: version, ini: ini,
                known: known.join("\n") }
      texts = texts.transform_values { |text| Library.text(text) } # kept until the call has ended
      host = Library.fill(
        Library::HostStruct, **texts.compact, size: Library::HostStruct.size, point_count: points.size, points: table,
        master: master, worker_uid: uid & 0xffffffff, worker_gid: gid & 0xffffffff, log: @on_line, cannot: cannot
      )
      guard("forksafe_open", host)
    rescue StandardError => error
      log(:error, "forksafe: #{error.message}; the server runs without its hooks")
      Build::ERRORS[:ENOENT]
    end

    # forksafe_emit: `event` is a key of EVENTS, `role` of ROLES, `child` [pid, exit, signal] of a ChildExit. Returns
    # Library::OK, RETIRE or STOP.
    def emit(event, role:, worker: 0, forked: false, app_loaded: false, child: [0, 0, 0])
      if Library.loaded?
        occasion = Library.fill(
          Library::Occasion, size: Library::Occasion.size, role: ROLES.fetch(role), worker: worker,
          forked: forked ? 1 : 0, app_loaded: app_loaded ? 1 : 0,
          child_pid: child[0], child_exit: child[1], child_signal: child[2]
        )
        return guard("forksafe_emit", EVENTS.fetch(event), occasion)
      end
      Library::OK
    end

    # For OnLine alone.
    def library_says(level, line)
      log(level, line.force_encoding(Encoding::UTF_8).scrub)
    end

    # For OnLine alone: what a signal's trap raised while a line was logged. guard raises it.
    def put_off(error)
      @raised ||= error
    end

    private

    # Calls into the library. Nothing may unwind through its frames, or its lock stays taken: Thread#raise and
    # Thread#kill wait until it has returned, and what a trap raised in the log (SystemExit, SignalException: servers
    # end that way) is raised here.
    def guard(function, *arguments)
      result = Thread.handle_interrupt(Object => :never) { Library.call(function, *arguments) }
      error, @raised = @raised, nil
      raise error if error

      result
    end

    def table_of(points)
      size = Library::ForkPoint.size
      table = Fiddle::Pointer.malloc(size * points.size, Fiddle::RUBY_FREE)
      @hooks = points.values.map { |hook| Library.text(hook) }
      points.keys.each_with_index do |event, index|
        point = Library::ForkPoint.new(table + index * size)
        point.event, point.atfork, point.hook = EVENTS.fetch(event), 0, @hooks[index]
      end
      table
    end
  end
end
