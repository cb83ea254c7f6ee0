#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# One hook in CPython, ours beside pyramid_forksafe's notify in the same process, in fresh children and warm in the
# master: python_host.py BUILD CLOCK INI FORKS EMITS. CLOCK is emit_timed.c as a library. Prints JSON: of each arm the
# median microseconds and minor faults.
import ctypes
import gc
import json
import logging
import mmap
import os
import resource
import statistics
import struct
import sys
import time
import types

build, clock, ini = sys.argv[1:4]
forks, emits = int(sys.argv[4]), int(sys.argv[5])
sys.path.insert(0, build + "/python")

from forksafe._library import EVENTS, LOG_CALLBACK, ROLES, ForkPoint, HostStruct, Occasion  # noqa: E402
from pyramid.config import Configurator  # noqa: E402
from pyramid_forksafe import registry_setup  # noqa: E402
from pyramid_forksafe.containers.gunicorn import post_fork  # noqa: E402
from pyramid_forksafe.events import ApplicationPostFork  # noqa: E402

library = ctypes.CDLL(build + "/runtime/libforksafe.so.0")
library.forksafe_journal_path.restype = ctypes.c_char_p
clock = ctypes.CDLL(clock)
timed = clock.emit_timed
figures = (ctypes.c_double * 2)()
log = logging.getLogger("bench")
log.setLevel(logging.INFO)
log.addHandler(logging.NullHandler())
log.propagate = False


def their_hook(event):
    """The quickstart's hook in Python: the line is formatted and handed to a log that drops it, as ours is."""
    line = "worker %s up as process %s, database %s" % (1, os.getpid(), event.registry.settings["db.host"])
    log.info(line)


def their_application():
    configurator = Configurator(settings={"db.host": "10.0.0.5"})
    registry_setup(configurator)
    configurator.add_subscriber(their_hook, ApplicationPostFork)
    return configurator.make_wsgi_app()


def open_ours():
    names = {"PRE_FORK": b"pre_fork", "POST_FORK": b"post_fork"}
    points = (ForkPoint * 2)(*[ForkPoint(EVENTS[event], 0, hook) for event, hook in names.items()])
    host = HostStruct(
        size=ctypes.sizeof(HostStruct),
        point_count=2,
        container=b"bench",
        environment=b"bench",
        ini=ini.encode(),
        points=points,
        worker_uid=0xFFFFFFFF,
        worker_gid=0xFFFFFFFF,
        log=ctypes.cast(clock.drop_line, LOG_CALLBACK),
    )
    if library.forksafe_open(ctypes.byref(host)):
        sys.exit("python_host.py: forksafe did not open")


def emit(event, role, forked):
    occasion = Occasion(size=ctypes.sizeof(Occasion), role=ROLES[role], worker=1, forked=forked)
    library.forksafe_emit(EVENTS[event], ctypes.byref(occasion))


def around_c(count=1):
    """Around the C function: what an adapter in C pays."""
    timed(count, figures)
    return tuple(figures)


def around(function, count=1):
    time.perf_counter()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    begun = time.perf_counter()
    for _ in range(count):
        function()
    took = (time.perf_counter() - begun) * 1e6 / count
    return took, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults


def nothing():
    pass


def alone(arm):
    emit("PRE_FORK", "master", 0)
    if not forks:
        arm(emits)
    elif not os.fork():
        arm()
        os._exit(0)
    else:
        os.wait()


def main():
    application = their_application()
    server = types.SimpleNamespace(app=types.SimpleNamespace(wsgi=lambda: application))
    open_ours()
    arms = {
        "ours": around_c,
        "ours_by_ctypes": lambda count=1: around(lambda: emit("POST_FORK", "worker", 1), count),
        "notify": lambda count=1: around(lambda: post_fork(server, None), count),
        "nothing": lambda count=1: around(nothing, count),
    }
    if "BENCH_ARM" in os.environ:  # for counts: one child of this arm, or so many in this process
        return alone({**arms, "nothing_in_c": lambda: around_c(0)}[os.environ["BENCH_ARM"]])
    shared = mmap.mmap(-1, 4096)
    results = {name: [] for name in arms}
    gc.collect()
    gc.freeze()  # as before any fork
    for _ in range(forks):
        for name, arm in arms.items():
            emit("PRE_FORK", "master", 0)
            pid = os.fork()
            if not pid:
                shared[:16] = struct.pack("dd", *arm())
                os._exit(0)
            os.waitpid(pid, 0)
            results[name].append(struct.unpack("dd", shared[:16]))
    child = {name: [statistics.median(one) for one in zip(*samples)] for name, samples in results.items()}
    for arm in arms.values():
        arm()
    warm = {name: arm(emits)[0] for name, arm in arms.items()}
    journal = library.forksafe_journal_path().decode()
    print(json.dumps({"child": child, "warm": warm, "journal": journal, "hooks": 2 * (forks + 1 + emits)}))


main()
