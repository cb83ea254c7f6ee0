# SPDX-License-Identifier: MIT
"""An engine that has connected before the fork; says which backend serves it, where."""
import os

import sqlalchemy

engine = sqlalchemy.create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg2:"))


def say(where):
    with engine.connect() as connection:
        print(where, connection.execute(sqlalchemy.text("select pg_backend_pid()")).scalar(), flush=True)


def before_fork():
    say("before")


def in_worker():
    say("worker")


def in_master():
    say("master")
