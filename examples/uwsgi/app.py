"""A WSGI application that answers with the process that serves it."""
import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served by process %d\n" % os.getpid()]
