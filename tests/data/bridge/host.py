# SPDX-License-Identifier: MIT
"""The smallest pre-forking server in Python: opens forksafe, forks one worker after another, and each fires PostFork.

    host.py INI [MODULE...]     MODULE: what the application has imported before the fork

Of each module before_fork() is called in the master, in_worker() in each worker after its hooks, in_master() at the end: where it has them.

SERVE_WORKERS says how many workers (1). ATFORK=1 leaves PreFork and PostFork to the library's atfork handlers, KEEP_LOCK=1
calls in with the interpreter's lock, RAW=1 forks past Python, as a server in C does. Ends with 0 when all workers did, and then fires Shutdown.
"""
import ctypes
import importlib
import os
import sys

from forksafe._library import EVENTS, LOG_CALLBACK, ROLES, ForkPoint, HostStruct, Occasion, call, load

POINTS = {"PRE_FORK": b"pre_fork", "POST_FORK": b"post_fork", "CHILD_EXIT": b"child_exit", "SHUTDOWN": b"shutdown"}
ATFORK = "ATFORK" in os.environ
LIBRARY = ctypes.PyDLL(load()._name) if "KEEP_LOCK" in os.environ else load()


@LOG_CALLBACK
def on_line(_data, _level, line):
    os.write(1, line + b"\n")


def open_forksafe(ini):
    table = [ForkPoint(EVENTS[event], int(ATFORK and event.endswith("_FORK")), hook) for event, hook in POINTS.items()]
    host = HostStruct(size=ctypes.sizeof(HostStruct), point_count=len(table), container=b"host", environment=b"host",
                      ini=ini.encode(), points=(ForkPoint * len(table))(*table), worker_uid=2**32 - 1,
                      worker_gid=2**32 - 1, log=on_line)
    return call(LIBRARY.forksafe_open, ctypes.byref(host))


def emit(event, role, worker=0, forked=0, child=(0, 0, 0)):
    if ATFORK and event.endswith("_FORK"):
        return 0
    occasion = Occasion(ctypes.sizeof(Occasion), ROLES[role], worker, forked, 1, *child)
    return call(LIBRARY.forksafe_emit, EVENTS[event], ctypes.byref(occasion))


def main(ini, *names):
    modules = [importlib.import_module(name) for name in names]

    def each(what):
        for module in modules:
            getattr(module, what, int)()

    each("before_fork")
    if open_forksafe(ini):
        return 2
    failed = False
    for worker in range(1, int(os.environ.get("SERVE_WORKERS", "1")) + 1):
        emit("PRE_FORK", "master", worker=worker)
        pid = ctypes.PyDLL(None).fork() if "RAW" in os.environ else os.fork()
        if pid == 0:
            verdict = emit("POST_FORK", "worker", worker=worker, forked=1)
            print("verdict %d" % verdict, flush=True)
            if verdict == 0:
                each("in_worker")
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        failed = failed or status != 0
        code = os.waitstatus_to_exitcode(status)
        emit("CHILD_EXIT", "master", worker=worker, child=(pid, max(code, -1), max(-code, 0)))
    each("in_master")
    emit("SHUTDOWN", "master")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
