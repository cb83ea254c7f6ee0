# SPDX-License-Identifier: MIT
#
# forksafe for Ruby servers: plain Ruby over libforksafe.so. `plugin :forksafe` is for Puma's configuration, `require
# "forksafe/unicorn"` for Unicorn's; this file is for the application. Any process of the server.
# frozen_string_literal: true

require "json"
require "forksafe/library"

module Forksafe
  VERSION = Build::VERSION

  # The debug object of this process's server as a Hash; nil where forksafe is not open in this process.
  def self.debug
    text = Library.debug_json
    text && JSON.parse(text)
  end
end
