# SPDX-License-Identifier: MIT
#
# `plugin :forksafe` in Puma's configuration: gives it the word forksafe_ini, and starts forksafe in the master.
# frozen_string_literal: true

require "puma/plugin"
require "puma/dsl"
require "forksafe/puma"

module Puma
  class DSL
    # The ini that forksafe serves, INI[#APP]; without it the one that FORKSAFE_INI names.
    #
    #   plugin :forksafe
    #   forksafe_ini "production.ini"
    def forksafe_ini(path)
      @options[:forksafe_ini] = path
    end
  end
end

Puma::Plugin.create do
  # Not `config`: Puma drops the first option of the configuration file for a plugin that has that.
  def start(launcher)
    Forksafe::Puma.new(launcher).start
  end
end
