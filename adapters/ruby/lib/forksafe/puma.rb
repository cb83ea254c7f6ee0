# SPDX-License-Identifier: MIT
#
# Puma: what lib/puma/plugin/forksafe.rb starts. One object, made in the master before it loads the application;
# workers have it by the fork. With fork_worker the first worker is a mold: it serves, and the others are forked from
# it.
#
# A phased restart (USR1) opens forksafe again in the master. A restart (USR2) executes the master anew, under its pid:
# the program that follows opens the same journal. A refork makes new workers from the mold, and reads nothing again.
# frozen_string_literal: true

require "forksafe"
require "forksafe/host"

module Forksafe
  class Puma
    HOOKS = { # the event, and Puma's name of the hook: since version 7, and before
      MASTER_READY: ["before_fork"],
      PRE_FORK: ["before_worker_fork", "on_worker_fork"],
      POST_FORK: ["before_worker_boot", "on_worker_boot"],
      POST_WORKER_INIT: ["state_running"], # the event :state, when it is :running
      WORKER_EXIT: ["before_worker_shutdown", "on_worker_shutdown"],
      CHILD_EXIT: ["after_worker_shutdown"], # since 7.1
      RELOAD: ["before_restart", "on_restart"],
      SHUTDOWN: ["after_stopped", "on_stopped"]
    }.freeze

    RESTARTED = "FORKSAFE_PUMA_RESTARTED" # in the environment: the pid of a master that executes itself anew

    def initialize(launcher)
      @launcher = launcher
      @options = launcher.options
      @clustered = @options[:workers].to_i.positive?
      @master = Process.pid
      @stop_asked, @ask_stop = IO.pipe if @clustered
      @names = HOOKS.transform_values { |names| name_of(*names) }.compact
      writer = launcher.respond_to?(:log_writer) ? launcher.log_writer : launcher.events
      @host = Host.new("puma", "Puma") { |_level, line| writer.log(line) }
    end

    # In the master, before the application. Where forksafe is required and cannot work, Puma ends here.
    def start
      @begins = ENV.delete(RESTARTED) == @master.to_s ? %i[RELOAD MASTER_READY] : %i[MASTER_READY]
      exit 1 if open == Build::ERRORS[:EREQUIRED]
      hook_all
    end

    private

    # The one of these names that this version of Puma has.
    def name_of(*names)
      names.find do |name|
        name == "state_running" || ::Puma::DSL.method_defined?(name) || ::Puma::Events.method_defined?(name)
      end
    end

    def open
      @host.open(@options[:forksafe_ini], ::Puma::Const::PUMA_VERSION, points,
                 cannot: @clustered ? 0 : Library::CANNOT_RETIRE, known: known)
    end

    # Puma's own threads have names, but one that has not run yet has the process's: those of pumactl's server.
    def known
      names = ["puma *"]
      names << File.read("/proc/self/comm").chomp.gsub(/\d+/, "*") if @options[:control_url]
      names.map { |name| "lost-thread:#{name}" }
    end

    # In a single process there is no fork: the places that are left stand for the others.
    def points
      return @names if @clustered

      running, stopped = @names.values_at(:POST_WORKER_INIT, :SHUTDOWN)
      { MASTER_READY: running, POST_FORK: running, POST_WORKER_INIT: running, WORKER_EXIT: stopped, SHUTDOWN: stopped,
        RELOAD: @names[:RELOAD] }
    end

    def hook_all
      events = @launcher.events
      events.register(:state) { |state| running if state == :running }
      events.public_send(@names[:RELOAD]) { restarting }
      events.public_send(@names[:SHUTDOWN]) { stopped }
      @clustered ? hook_cluster : events.public_send(name_of("after_booted", "on_booted")) { booted_single }
    end

    def hook_cluster
      @launcher.config.configure do |_user, file|
        file.public_send(@names[:MASTER_READY]) { master_ready }
        file.public_send(@names[:PRE_FORK]) { |index| pre_fork(index) }
        file.public_send(@names[:POST_FORK]) { |index| post_fork(index) }
        file.public_send(@names[:WORKER_EXIT]) { worker_exit }
        file.public_send(@names[:CHILD_EXIT]) { |handle| child_exit(handle) } if @names[:CHILD_EXIT]
      end
    end

    # The hooks, in the order of a server's life.

    def master_ready
      @loaded = @options[:preload_app]
      stop if @begins.map { |event| emit(event) }.max == Library::STOP
    end

    # In the master; in the mold, for those that are forked from it.
    def pre_fork(index)
      @loaded = true if @index
      stop if emit(:PRE_FORK, worker: index + 1) == Library::STOP
    end

    def post_fork(index)
      @index, @runs = index, false
      obey(emit(:POST_FORK))
    end

    # A server of this process runs, with the application loaded, and does not accept yet. The master of a cluster has
    # one for pumactl; the mold's runs again after each refork.
    def running
      return if @runs || (@clustered && !@index)

      @runs = @loaded = true
      @clustered ? obey(emit(:POST_WORKER_INIT)) : running_single
    end

    def running_single
      @verdict = [*@begins, :POST_FORK, :POST_WORKER_INIT].map { |event| emit(event) }.max
    end

    # Puma can be stopped from now on.
    def booted_single
      stop if @verdict == Library::STOP
    end

    def worker_exit
      stop if emit(:WORKER_EXIT) == Library::STOP
    end

    def child_exit(handle)
      status = handle.process_status
      child = [handle.pid, status.exitstatus || -1, status.termsig || 0]
      stop if emit(:CHILD_EXIT, worker: handle.index + 1, child: child) == Library::STOP
    end

    # Puma is about to restart: as a whole, when all workers are gone; phased; or from the mold, which is ahead then.
    def restarting
      stats = @launcher.stats
      if !@clustered || stats[:workers].zero?
        return stop_instead if @stop_asked&.read_nonblock(1, exception: false).is_a?(String)

        ENV[RESTARTED] = @master.to_s
      elsif stats[:worker_status].none? { |worker| worker[:phase] > stats[:phase] }
        open
        stop if emit(:RELOAD) == Library::STOP
      end
    end

    # A worker has asked for the end after the restart had begun: of INT Puma remembers only the restart then.
    def stop_instead
      @launcher.stop
      events = @launcher.events
      events.respond_to?(:fire_after_stopped!) ? events.fire_after_stopped! : events.fire_on_stopped!
      @launcher.close_binder_listeners
      exit 0
    end

    def stopped
      return if @stopped

      @stopped = true
      emit(:WORKER_EXIT) unless @clustered
      emit(:SHUTDOWN)
    end

    # Events and verdicts.

    def role
      return :single unless @clustered
      return :master if Process.pid == @master

      @options[:fork_worker] && @index&.zero? ? :mold : :worker
    end

    def emit(event, worker: @index.to_i + (@index ? 1 : 0), child: [0, 0, 0])
      @host.emit(event, role: role, worker: worker, forked: Process.pid != @master, app_loaded: @loaded, child: child)
    end

    # Ends this worker where the verdict asks for it: to be replaced, or with the server.
    def obey(verdict)
      return if verdict == Library::OK

      stop if verdict == Library::STOP
      worker_exit
      exit 1
    end

    # Ends the server in order.
    def stop
      return @launcher.stop if Process.pid == @master

      @ask_stop.write_nonblock("!", exception: false)
      Process.kill(:INT, @master)
    rescue Errno::ESRCH # it is gone
      nil
    end
  end
end
