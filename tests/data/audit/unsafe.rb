# SPDX-License-Identifier: MIT
#
# Opens, where it is required, what the words in UNSAFE say: objects that are not safe to fork.
# frozen_string_literal: true

require "fiddle"
require "socket"

module Unsafe
  KEPT = []
  MAKERS = {
    "epoll" => "epoll_create1", "eventfd" => "eventfd", "timerfd" => "timerfd_create", "inotify" => "inotify_init1"
  }.freeze

  def self.file
    KEPT << File.open("report.txt", "w")
    KEPT.last.syswrite("begun\n")
  end

  def self.thread = start { Thread.current.name = "telemetry7" }

  def self.unnamed = start {}

  def self.tcp = KEPT << TCPSocket.new("127.0.0.1", ENV.fetch("PEER_PORT"))

  def self.tcp6 = KEPT << TCPSocket.new("::1", ENV.fetch("PEER_PORT6"))

  def self.udp = KEPT << UDPSocket.new.tap { |socket| socket.connect("127.0.0.1", ENV.fetch("PEER_PORT")) }

  def self.unix = KEPT << UNIXSocket.new(ENV.fetch("PEER_PATH"))

  def self.start
    KEPT << Thread.new { yield; sleep }
    sleep 0.1
  end

  def self.make(function)
    types = [Fiddle::TYPE_INT] * 2
    KEPT << Fiddle::Function.new(Fiddle::Handle::DEFAULT[function], types, Fiddle::TYPE_INT).call(0, 0)
  end

  ENV.fetch("UNSAFE").split.each { |word| MAKERS.key?(word) ? make(MAKERS[word]) : public_send(word) }
end
