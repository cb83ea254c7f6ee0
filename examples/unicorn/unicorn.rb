# Unicorn's configuration: two lines are all that forksafe needs.
require "forksafe/unicorn"
Forksafe::Unicorn.attach(self, "production.ini")

worker_processes 3
listen "127.0.0.1:9292"
