# SPDX-License-Identifier: MIT
"""Django's connection, open before the fork; says which backend serves it, where."""
import os
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username, "HOST": url.hostname,
    "PORT": url.port, "CONN_MAX_AGE": None, "OPTIONS": dict([url.query.split("=")]),
}})


def say(where):
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        print(where, cursor.fetchone()[0], flush=True)


def before_fork():
    say("before")


def in_worker():
    say("worker")


def in_master():
    say("master")
