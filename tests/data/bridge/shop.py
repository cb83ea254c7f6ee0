# SPDX-License-Identifier: MIT
"""An application with something in it that hooks call, and a WSGI function that says what became of it."""
import ctypes
import os
import signal
import sys
import threading
import time

state = {"dsn": "inherited"}


class Store:
    def connect(self, dsn, retries=1):
        state["dsn"] = "%s in %d, %d retries" % (dsn, os.getpid(), retries)


store = Store()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("%d %s" % (os.getpid(), state["dsn"])).encode()]


def same(value):
    return value


def told(*arguments, **keywords):
    return repr((arguments, keywords))


def many_kinds():
    return [1, 2.5, "é", True, b"\xff\x00", {"a"}, 2**60]


def mapping():
    return {"a": 1, "b": None, "c": "text", "d": [1, 2]}


def fail():
    raise ValueError("no such shop")


def emit_here():
    """What a signal handler of the host does: an event within an event."""
    sys.modules["__main__"].emit("CHILD_EXIT", "worker", worker=7, child=(1, 0, 0))


def signal_us():
    signal.signal(signal.SIGUSR1, lambda *_: emit_here())
    os.kill(os.getpid(), signal.SIGUSR1)
    return "after the handler"


def end_us():
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
    os.kill(os.getpid(), signal.SIGUSR1)


def fork_once():
    pid = os.fork()
    if pid == 0:
        os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def without_lock():
    """A second in which other threads have the lock."""
    ctypes.CDLL(None).usleep(100000)
    return "back"


counted = []


def count():
    while len(counted) < 1000000000:
        counted.append(1)
        if len(counted) > 1000:
            counted.clear()
            time.sleep(0)


def start_threads(number):
    for _ in range(number):
        threading.Thread(target=count, daemon=True).start()
