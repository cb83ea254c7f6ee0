# SPDX-License-Identifier: MIT
"""Celery's prefork pool: one line in the application's configuration.

    imports = ["forksafe.containers.celery"]     # or: import forksafe.containers.celery, beside the Celery application
    forksafe_ini = "production.ini"              # or FORKSAFE_INI in the environment

Only a worker program is touched: in any other process that imports the application this module connects to Celery's
signals and does nothing more. What Celery calls a worker is the master here, its pool's processes are the workers, and
`--beat` is a helper. The application is always loaded in the master.

HUP executes the master anew, so a reload is a start in the process that was there before. A process that retires waits
for Celery's loop: one that ends before that would end the server.
"""
import atexit
import mmap
import os
import re
import signal
import socket
import sys
import time

import billiard
from billiard.pool import EX_RECYCLE
from billiard.util import register_after_fork
from celery import __version__, concurrency, signals
from celery.concurrency.prefork import TaskPool
from celery.exceptions import WorkerTerminate
from celery.platforms import EX_FAILURE
from celery.utils.log import worker_logger
from celery.worker import state
from kombu import Connection

from forksafe._host import Host
from forksafe._library import ERRORS, OK, STOP

POINTS = {  # the event, and Celery's name of the hook; where it has none, Python's of the function that calls
    "MASTER_READY": "worker_init",
    "PRE_FORK": "register_at_fork",
    "POST_FORK": "register_after_fork",
    "POST_WORKER_INIT": "worker_process_init",
    "WORKER_EXIT": "worker_process_shutdown",
    "CHILD_EXIT": "exitcode",
    "RELOAD": "worker_init",
    "SHUTDOWN": "worker_shutdown",
}
BEFORE_CREATE = getattr(signals, "worker_before_create_process", None)  # from Celery 5.3

# Found by the audit, and by design: a process of the pool never uses the master's event loop, and of billiard's
# counters in temporary files only the memory is shared.
KNOWN = ("shared-epoll", "shared-file:*/pymp-*")

REEXECUTED = "FORKSAFE_CELERY_MASTER"  # in the environment: the pid of the master that opened forksafe
LOOK_SECONDS = 5.0  # how often the master looks for processes that ended and are not replaced, as Celery itself does
START_SECONDS = 30.0  # how long a process that retires waits at most for the master's loop

LOOPING, STOPPING = range(2)  # bytes of _shared


class _EarlyLog:
    """Stands in for the worker's logger, and keeps the lines, until Celery has set up its logging."""

    def __init__(self):
        self.lines = []

    def __getattr__(self, level):
        return lambda form, line: self.lines.append((level, form, line))

    def hand_over(self, logger):
        for level, form, line in self.lines:
            getattr(logger, level)(form, line)
        self.lines.clear()

    def print(self):
        """Where Celery ends before it has a log."""
        for level, form, line in self.lines:
            print(level.upper() + ": " + form % line, file=sys.stderr)
        self.lines.clear()


_host = Host("celery", "Celery", POINTS)
_early = _EarlyLog()
_master = 0  # pid of the master of a pool that forks
_shared = None  # between master and workers: one byte each for LOOPING and STOPPING
_processes = {}  # in the master: billiard's process by slot
_announced = False  # in the master: PreFork has been for the next fork
_worker = (0, 0)  # in a worker: its pid and slot


# The master's life.


@signals.worker_init.connect
def _start(sender, **_):
    """ApplicationMasterReady, and before it ApplicationReload where HUP brought us here. Nothing is forked yet."""
    global _master, _shared
    pool = concurrency.get_implementation(sender.pool_cls)
    forks = issubclass(pool, TaskPool)
    _host.logger = _early
    atexit.register(_shut_down, os.getpid())
    if _open(sender, None if forks else _problem(pool)) == ERRORS["EREQUIRED"]:
        _host.log("error", "forksafe cannot work, and the ini says forksafe.required = true")
        sys.exit(EX_FAILURE)
    if not forks:
        return
    _master = os.getpid()
    _shared = mmap.mmap(-1, 2)
    os.register_at_fork(before=_before_fork)
    register_after_fork(_host, _after_fork)
    if os.environ.get(REEXECUTED) == str(_master):
        _emit("RELOAD")
    os.environ[REEXECUTED] = str(_master)
    _emit("MASTER_READY")
    if _shared[STOPPING]:
        sys.exit(EX_FAILURE)


@signals.celeryd_after_setup.connect
def _log_is_set_up(**_):
    _host.logger = worker_logger
    _early.hand_over(worker_logger)


@signals.worker_ready.connect
def _ready(sender, **_):
    """Celery's loop is about to begin: until its first turn no process may end."""
    if not _master:
        return
    _heed()
    if sender.hub is None or state.should_stop is not None:
        _shared[LOOPING] = 1
    else:
        sender.hub.call_soon(_shared.__setitem__, LOOPING, 1)
        sender.hub.call_repeatedly(LOOK_SECONDS, _look_for_exits)


@signals.worker_shutdown.connect
def _stopped(sender, **_):
    """The pool has ended. ApplicationShutdown waits for the exit, since Celery comes here at HUP too."""
    if _master:
        _look_for_exits()
        if _shared[STOPPING]:
            sender.exitcode = EX_FAILURE


def _shut_down(pid):
    """ApplicationShutdown. At HUP Celery, registered after us and so called before us, has executed itself by now."""
    if _master == os.getpid() == pid:
        _emit("SHUTDOWN")
    if os.getpid() == pid:
        _early.print()


# Forks.


def _before_create(sender, **_):
    """ApplicationPreFork, in the master, where Celery has a signal for it."""
    global _announced
    if os.getpid() == _master:
        taken = {process.index for process in getattr(sender, "_pool", ())}
        _pre_fork(next(index for index in range(len(taken) + 1) if index not in taken) + 1)
        _announced = True


if BEFORE_CREATE is not None:
    BEFORE_CREATE.connect(_before_create)


def _before_fork():
    """In the master, at any fork. ApplicationPreFork where Celery gave no signal: only if the pool forks a process."""
    global _announced
    try:
        process = sys._getframe(1).f_locals.get("process_obj") if os.getpid() == _master else None
        slot = _slot_of(process)
        if not slot:
            return
        if not _announced:
            _pre_fork(slot)
        _announced = False
        _processes[slot] = process
    except WorkerTerminate as end:  # Celery's signal handlers raise, and Python lets nothing out of here
        state.should_terminate = end.code
    except SystemExit as end:
        state.should_stop = end.code


def _pre_fork(slot):
    _look_for_exits()
    _emit("PRE_FORK", slot)


def _after_fork(_):
    """ApplicationPostFork, in each process that billiard forked from the master: workers, and beat as a helper."""
    global _worker
    process = billiard.current_process()
    slot = _slot_of(process)
    if os.getppid() != _master:
        return
    if slot:
        _worker = (os.getpid(), slot)
        _obey(_emit("POST_FORK", slot, "worker"))
    elif process.name == "Beat":
        _emit("POST_FORK", 0, "helper")


@signals.worker_process_init.connect
def _worker_ready(**_):
    """ApplicationPostWorkerInit, in a worker that is about to take tasks."""
    if _worker[0] == os.getpid():
        _obey(_emit("POST_WORKER_INIT", _worker[1], "worker"))


@signals.worker_process_shutdown.connect
def _worker_exits(**_):
    """ApplicationWorkerExit, in a worker."""
    if _worker[0] == os.getpid() and _emit("WORKER_EXIT", _worker[1], "worker") == STOP:
        _stop_master()


def _look_for_exits():
    """ApplicationChildExit, in the master, for each process that ended: before it is replaced, else soon."""
    _heed()
    for slot, process in sorted(_processes.items()):
        code = process.exitcode
        if code is not None and _processes.pop(slot, None):
            _emit("CHILD_EXIT", slot, child=(process.pid, code, 0) if code >= 0 else (process.pid, -1, -code))


def _slot_of(process):
    """1..N of a process of the pool; 0: it is none. A replacement has billiard's index of the dead."""
    index = getattr(process, "index", None)
    return index + 1 if isinstance(index, int) else 0


# Opening, events and verdicts.


def _open(worker, problem):
    points = dict(POINTS)
    if BEFORE_CREATE is not None and worker.use_eventloop:
        points["PRE_FORK"] = BEFORE_CREATE.name
    return _host.open(worker.app.conf.get("forksafe_ini"), __version__, points, problem=problem, known=_known(worker))


def _known(worker):
    """Patterns of findings that are Celery's own business. A process forked later inherits the master's connections to
    the broker and the result backend, and kombu gives it new ones. Without an event loop threads of the master fork,
    beside each other and the main thread; they are called as the program is."""
    patterns = list(KNOWN)
    if not worker.use_eventloop:
        with open("/proc/self/comm", encoding="utf-8", errors="replace") as name:
            patterns.append("lost-thread:" + re.sub(r"\d+", "*", name.read().rstrip("\n")))
    for peer in _peers(worker.app):
        patterns.append("shared-connection:" + peer)
    return "\n".join(patterns)


def _peers(app):
    """What connections to the broker and the result backend of the configuration have at their other end. Nothing
    where kombu does not know how to connect, or the host has no address: Celery says that itself."""
    peers, backend = set(), app.conf.result_backend
    connects = [app.connection_for_read, app.connection_for_write]
    if isinstance(backend, str) and "://" in backend:
        connects.append(lambda: Connection(backend))
    for connect in connects:
        try:
            first = connect()
            for connection in [Connection(url) for url in first.alt] or [first]:
                peers.update(_addresses(connection.info()))
        except Exception:  # a transport may raise anything
            continue
    return sorted(peers)


def _addresses(info):
    """A path, or each address of the host, with the port."""
    host, port = info["hostname"], info["port"]
    if "socket://" in host:
        return [host.partition("socket://")[2].partition("?")[0]]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if port else []
    except OSError:
        return []
    return ["[%s]:%d" % at[:2] if ":" in at[0] else "%s:%d" % at[:2] for *_, at in found]


def _problem(pool):
    name = pool.__module__.rpartition(".")[2]  # solo, thread, gevent, eventlet, custom
    return "the %s pool does not fork: start the worker with --pool prefork" % name


def _emit(event, slot=0, role="master", child=(0, 0, 0)):
    """Fires an event in this process, and obeys as a master where it is one."""
    verdict = _host.emit(event, role, worker=slot, forked=role != "master", app_loaded=True, child=child)
    _host.tell(event)
    if role == "master" and verdict == STOP and _shared is not None and not _shared[STOPPING]:
        _shared[STOPPING] = 1
        _host.log("error", "forksafe: the worker stops: a subscriber with on_error = stop_server failed")
        _heed()
    return verdict


def _heed():
    """In the master: begins a warm shutdown where one of its processes, or itself, has asked for it. Celery looks at
    this in its loop. A signal would raise in whatever the master does, and be lost where it forks."""
    if _shared[STOPPING] and state.should_stop is None:
        state.should_stop = EX_FAILURE


def _obey(verdict):
    """Ends this worker where the verdict asks for it, or where the master stops. It has taken no task, and its status
    is what Celery takes for a process that is to be replaced."""
    if verdict == OK and not _shared[STOPPING]:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # still the master's at PostFork
    if verdict == STOP:
        _stop_master()
    _wait_for_master()
    sys.exit(EX_RECYCLE)


def _stop_master():
    if not _shared[STOPPING]:
        _shared[STOPPING] = 1
        text = "forksafe: process %d stops the worker: a subscriber with on_error = stop_server failed"
        _host.log("error", text % os.getpid())


def _wait_for_master():
    """Until the master's loop runs or the master is gone; one that stops is about to end this worker."""
    end = time.monotonic() + (1.0 if _shared[STOPPING] else START_SECONDS)
    while time.monotonic() < end and os.getppid() == _master and (_shared[STOPPING] or not _shared[LOOPING]):
        time.sleep(0.05)
