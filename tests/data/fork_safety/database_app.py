# SPDX-License-Identifier: MIT
"""An application that talks to its database while it is imported: what so many do by accident (scenarios 1 and 2)."""
import os

import sqlalchemy

engine = sqlalchemy.create_engine(os.environ["DATABASE_URL"], pool_size=1, max_overflow=0, pool_pre_ping=True)

with engine.connect() as connection:
    connection.execute(sqlalchemy.text("select 1"))


def application(environ, start_response):
    number = environ["PATH_INFO"][1:]
    with engine.connect() as connection:
        statement = sqlalchemy.text("select :number || pg_sleep(0.005)::text")
        answer = connection.execute(statement, {"number": number}).scalar()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]
