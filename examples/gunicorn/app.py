"""A WSGI application that says which worker answered."""
import os


def main(global_conf, **settings):
    def application(environ, start_response):
        body = b"pid %d\n" % os.getpid()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return application
