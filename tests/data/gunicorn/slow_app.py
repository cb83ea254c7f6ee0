# SPDX-License-Identifier: MIT
"""The application that gunicorn_spec.lua serves: half a second to import, answers with its pid.

Prints where it was imported, so that the test can see that no master did. As a Paste application and as a plain one.
"""
import json
import os
import time

time.sleep(0.5)
print("imported in %d" % os.getpid(), flush=True)


class Registry:
    """Takes attributes, as Pyramid's does."""


def application(environ, start_response, registry=None):
    time.sleep(0.02)  # so that workers share the requests
    body = str(os.getpid())
    if environ["PATH_INFO"] == "/debug":
        body = json.dumps({name: dict(view) for name, view in vars(registry).items()})
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]


def factory(global_conf, mark=None, **settings):
    """With `mark` in its section it calls mark_configured."""
    registry = Registry()
    if mark:
        from forksafe.containers.gunicorn import mark_configured

        mark_configured(registry)
    return lambda environ, start_response: application(environ, start_response, registry)
