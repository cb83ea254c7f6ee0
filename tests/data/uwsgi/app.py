# SPDX-License-Identifier: MIT
"""The WSGI application of uwsgi_spec.lua: answers with its pid; some paths do something first."""
import ctypes
import os
import signal
import time


def fork_and_leave():
    """A child of the application's own. It ends as a worker does: exit handlers run."""
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).exit(0)
    os.waitpid(pid, 0)


ACTIONS = {
    "/slow": lambda: time.sleep(0.2),
    "/exit3": lambda: os._exit(3),
    "/segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "/system": lambda: os.system("true"),
    "/fork": fork_and_leave,
}


def application(environ, start_response):
    ACTIONS.get(environ["PATH_INFO"], lambda: None)()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


def make_app(global_conf, **settings):
    return application


time.sleep(float(os.environ.get("APP_IMPORT_SECONDS", "0")))
if "APP_FORKS" in os.environ:
    fork_and_leave()
