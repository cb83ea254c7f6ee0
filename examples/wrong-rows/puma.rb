# SPDX-License-Identifier: MIT
workers 3
threads 1, 1
preload_app!

plugin :forksafe
forksafe_ini ENV.fetch("FORKSAFE_INI", "production.ini")
