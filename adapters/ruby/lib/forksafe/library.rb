# SPDX-License-Identifier: MIT
#
# libforksafe.so for Ruby: found, loaded by Fiddle, its structures and functions declared. The functions keep Ruby's
# global lock while they run, so that a hook may call back into Ruby. Runs in whatever process requires it.
# frozen_string_literal: true

require "fiddle/import"
require "forksafe/build"

module Forksafe
  module Library
    extend Fiddle::Importer

    SONAME = "libforksafe.so.0"
    RTLD_NOLOAD = 4 # Linux's; Fiddle has no name for it

    OK, RETIRE, STOP = 0, 1, 2 # enum forksafe_verdict
    CANNOT_RETIRE = 1

    FUNCTIONS = {
      "forksafe_open" => [[Fiddle::TYPE_VOIDP], Fiddle::TYPE_INT],
      "forksafe_emit" => [[Fiddle::TYPE_INT, Fiddle::TYPE_VOIDP], Fiddle::TYPE_INT],
      "forksafe_debug_json" => [[], Fiddle::TYPE_VOIDP],
      "forksafe_free" => [[Fiddle::TYPE_VOIDP], Fiddle::TYPE_VOID]
    }.freeze

    # struct forksafe_fork_point
    ForkPoint = struct(["int32_t event", "int32_t atfork", "void *hook"])

    # struct forksafe_host; is_master stays NULL: we call at each fork point ourselves
    HostStruct = struct(
      ["uint32_t size", "uint32_t point_count", "void *container", "void *environment", "void *version", "void *ini",
       "void *points", "int32_t master", "uint32_t worker_uid", "uint32_t worker_gid", "void *is_master", "void *log",
       "void *data", "void *problem", "uint32_t cannot", "void *known"]
    )

    # struct forksafe_occasion
    Occasion = struct(
      ["uint32_t size", "int32_t role", "int32_t worker", "int32_t forked", "int32_t app_loaded", "int32_t child_pid",
       "int32_t child_exit", "int32_t child_signal"]
    )

    class << self
      # Loads the library: the one that this process already has, else the build's, else the system's. Raises
      # Fiddle::DLError, in one line, where there is none.
      def load
        @functions ||= declare(find)
      end

      def loaded?
        !@functions.nil?
      end

      # Calls a function; load came before.
      def call(name, *arguments)
        @functions.fetch(name).call(*arguments)
      end

      # The debug object as JSON; nil where the library is not open.
      def debug_json
        return unless loaded?

        pointer = call("forksafe_debug_json")
        return if pointer.null?

        text = pointer.to_s.force_encoding(Encoding::UTF_8)
        call("forksafe_free", pointer)
        text
      end

      # A structure filled with `fields`, in memory of its own.
      def fill(structure, fields)
        memory = structure.malloc(Fiddle::RUBY_FREE)
        memory.to_ptr[0, structure.size] = "\0" * structure.size
        fields.each { |name, value| memory[name.to_s] = value }
        memory
      end

      # A C string in memory that stays where it is; nil for nil.
      def text(string)
        return if string.nil?

        bytes = "#{string}\0".b
        memory = Fiddle::Pointer.malloc(bytes.bytesize, Fiddle::RUBY_FREE)
        memory[0, bytes.bytesize] = bytes
        memory
      end

      private

      def find
        now = Fiddle::Handle::RTLD_NOW
        problems = []
        [[SONAME, now | RTLD_NOLOAD], [Build::LIBRARY, now], [SONAME, now]].each do |name, mode|
          handle = Fiddle::Handle.new(name, mode)
          return handle unless handle.to_i.zero? # found, not loaded, and no error (RTLD_NOLOAD)
        rescue Fiddle::DLError => error
          problems << error.message if mode == now
        end
        raise Fiddle::DLError, "libforksafe cannot be loaded: #{problems.join('; ')}"
      end

      def declare(handle)
        FUNCTIONS.to_h do |name, (arguments, result)|
          [name, Fiddle::Function.new(handle[name], arguments, result, name: name, need_gvl: true)]
        end
      end
    end
  end
end
