# SPDX-License-Identifier: MIT
#
# For a Gemfile: gem "forksafe", path: "<build>/ruby", where CMake has written lib/forksafe/build.rb.
# frozen_string_literal: true

require_relative "lib/forksafe/build"

Gem::Specification.new do |gem|
  gem.name = "forksafe"
  gem.version = Forksafe::Build::VERSION
  gem.summary = "Fork hooks in Lua for every pre-forking server: Puma and Unicorn"
  gem.authors = ["the forksafe authors"]
  gem.license = "MIT"
  gem.required_ruby_version = ">= 3.0"
  gem.files = Dir["lib/**/*.rb", base: __dir__]
end
