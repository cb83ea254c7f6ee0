# gunicorn's config file: the import is all that forksafe needs.
from forksafe.containers.gunicorn import post_fork, post_worker_init, pre_fork

bind = "127.0.0.1:8080"
workers = 3
