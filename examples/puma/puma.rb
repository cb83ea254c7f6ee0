# Puma's configuration: two lines are all that forksafe needs.
plugin :forksafe
forksafe_ini "production.ini"

workers 3
threads 1, 5
bind "tcp://127.0.0.1:9292"
