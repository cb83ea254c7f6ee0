# SPDX-License-Identifier: MIT
#
# Unicorn: `Forksafe::Unicorn.attach(self, "production.ini")` in its configuration. The master opens forksafe at its
# first fork, when user, logger and application are known, and after HUP at the next. USR2 is a new master.
# frozen_string_literal: true

require "etc"
require "forksafe/host"

module Forksafe
  module Unicorn
    POINTS = { # the event, and Unicorn's name of the place
      MASTER_READY: "before_fork", PRE_FORK: "before_fork", POST_FORK: "after_fork",
      POST_WORKER_INIT: "after_worker_ready", WORKER_EXIT: "at_exit", CHILD_EXIT: "after_worker_exit",
      RELOAD: "reload", SHUTDOWN: "at_exit"
    }.freeze
    HOOKS = %i[before_fork after_fork after_worker_ready after_worker_exit].freeze
    Both = Class.new(Proc) # a hook of the configuration with ours beside it

    # The configuration's own words, so that what is set later has ours beside it too.
    module Composing
      HOOKS.each do |name|
        define_method(name) do |*arguments, &block|
          super(*arguments, &block)
          set[name] = Unicorn.beside(name, set[name])
        end
      end
    end

    class << self
      # `ini` is INI[#APP], seen from Unicorn's working directory; nil: FORKSAFE_INI names it.
      def attach(configurator, ini = nil)
        @ini, @unread = ini, true
        configurator.extend(Composing)
        HOOKS.each { |name| configurator.set[name] = beside(name, configurator.set[name]) }
      end

      # Ours is next to the fork: after theirs in the master, before theirs in the worker.
      def beside(name, theirs)
        return theirs if theirs.is_a?(Both)

        hooks = name == :before_fork ? [theirs, method(name)] : [method(name), theirs]
        Both.new { |*arguments| hooks.each { |hook| hook.call(*arguments) } }
      end

      private

      def before_fork(server, worker)
        read_again(server) if @unread
        stop(@master) if emit(:PRE_FORK, :master, worker) == Library::STOP
      end

      def after_fork(server, worker)
        open(server, Process.ppid) if @unread # worker_exec: a program anew
        @worker, @pid, @parent = worker, Process.pid, Process.ppid
        obey(emit(:POST_FORK, :worker, worker))
      end

      def after_worker_ready(_server, worker)
        @loaded = true
        obey(emit(:POST_WORKER_INIT, :worker, worker))
      end

      def after_worker_exit(_server, worker, status)
        child = [status.pid, status.exitstatus || -1, status.termsig || 0]
        stop(@master) if worker && emit(:CHILD_EXIT, :master, worker, child) == Library::STOP
      end

      def worker_exit = emit(:WORKER_EXIT, :worker, @worker) == Library::STOP && stop(@parent)

      def read_again(server)
        begins, @master = @master ? :RELOAD : :MASTER_READY, Process.pid
        exit 1 if open(server) == Build::ERRORS[:EREQUIRED] && begins == :MASTER_READY
        stop(@master) if emit(begins, :master) == Library::STOP
      end

      def open(server, master = 0)
        at_exit { Process.pid == @master ? emit(:SHUTDOWN, :master) : worker_exit } unless @host
        @host ||= Host.new("unicorn", "Unicorn") { |level, line| server.logger.public_send(level, line) }
        @unread, @loaded, (user, group) = false, server.preload_app, server.user
        @host.open(@ini, ::Unicorn::Const::UNICORN_VERSION, POINTS, master: master,
                   uid: user ? Etc.getpwnam(user).uid : -1, gid: group ? Etc.getgrnam([*group].first).gid : -1)
      end

      def emit(event, role, worker = nil, child = [0, 0, 0])
        return Library::OK unless [@master, @pid].include?(Process.pid) # at_exit of another child
        @host.emit(event, role: role, worker: worker ? worker.nr + 1 : 0, forked: role == :worker, app_loaded: @loaded,
                   child: child)
      end

      def obey(verdict) # ends this worker where it has to: to be replaced, or with the server
        stop(@parent) if verdict == Library::STOP
        exit 1 unless verdict == Library::OK
      end

      def stop(master) = [Process.pid, Process.ppid].include?(master) && Process.kill(:QUIT, master) # else it is gone
    end
  end
end
