# SPDX-License-Identifier: MIT
"""gunicorn: import its hooks by name into gunicorn's config.py.

    from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init

is all; when_ready, worker_exit, child_exit, on_reload and on_exit are there for more events. gunicorn looks at how many
arguments a hook takes, so each is a plain function. The application is never loaded from here: whether it is loaded
is only looked at.

The master opens forksafe at the first hook it runs. At HUP gunicorn makes a new Config object, and only then: the first
hook that sees another one than forksafe was opened with opens again. So a reload counts once, on_reload imported
or not. A USR2 upgrade is a new master with a journal of its own, beside the old one; pre_exec is not needed.
"""
import mmap
import os
import signal
import sys
import time

from forksafe import _applications
from forksafe._debug import note
from forksafe._host import Host
from forksafe._library import ERRORS, OK, STOP

POINTS = {  # the event, and gunicorn's name of the hook
    "MASTER_READY": "when_ready",
    "PRE_FORK": "pre_fork",
    "POST_FORK": "post_fork",
    "POST_WORKER_INIT": "post_worker_init",
    "WORKER_EXIT": "worker_exit",
    "CHILD_EXIT": "child_exit",
    "RELOAD": "on_reload",
    "SHUTDOWN": "on_exit",
}

_host = Host("gunicorn", "gunicorn", POINTS)
_opened_for = None  # gunicorn's Config at the last opening; its identity tells a reload
_untold = []  # workers that the master has forked, and whose end was not told yet
_stopping = mmap.mmap(-1, 4)  # shared with the workers: the pid of the one that has told the master to stop


# The hooks, in the order of a server's life.


def when_ready(server):
    """ApplicationMasterReady, in the master, before the first fork."""
    if not _open_once(server):
        server.halt(reason=_REQUIRED, exit_status=1)  # nothing would catch HaltServer here
    if _emit("MASTER_READY", server) == STOP:
        server.halt(reason="forksafe: " + _STOPPED, exit_status=1)
    _host.tell("MASTER_READY")


def pre_fork(server, worker):
    """ApplicationPreFork, in the master. Gives the worker its slot, the smallest that is free."""
    if not _open_once(server):
        _halt(_REQUIRED)
    worker.forksafe_slot = _free_slot(server)
    if _emit("PRE_FORK", server, worker) == STOP:
        _halt("forksafe: " + _STOPPED)
    worker.forksafe_preloaded = _is_loaded(server.app)
    _untold.append(worker)
    _host.tell("PRE_FORK")


def post_fork(server, worker):
    """ApplicationPostFork, in the worker, before it drops privileges and loads the application."""
    _open_in_worker(worker)
    _obey(worker, _emit("POST_FORK", worker, worker))
    _host.tell("POST_FORK")


def post_worker_init(worker):
    """ApplicationPostWorkerInit, in the worker, which has loaded the application and is about to serve."""
    _open_in_worker(worker)
    _obey(worker, _emit("POST_WORKER_INIT", worker, worker))
    _warn_of_pre_fork(worker)
    _host.tell("POST_WORKER_INIT")


def worker_exit(server, worker):
    """ApplicationWorkerExit, in the worker. gunicorn also calls it in the master, for one that failed at boot."""
    if worker.pid == os.getpid():
        if _emit("WORKER_EXIT", worker, worker) == STOP and worker.ppid == os.getppid():
            os.kill(worker.ppid, signal.SIGTERM)
        _host.tell("WORKER_EXIT")
    elif _is_hooked(server.cfg, "child_exit"):
        child_exit(server, worker)


def child_exit(server, worker):
    """ApplicationChildExit, in the master; before gunicorn 24 inside its SIGCHLD handler."""
    if worker in _untold:
        _untold.remove(worker)
    child = (worker.pid, *_how_it_ended())
    if _emit("CHILD_EXIT", server, worker, child) == STOP:
        os.kill(os.getpid(), signal.SIGTERM)  # raising would break into a halt that is under way
    _host.tell("CHILD_EXIT")


def on_reload(server):
    """ApplicationReload, in the master, after gunicorn has read its config again."""
    _reopen(server)


def on_exit(server):
    """ApplicationShutdown, in the master, when all workers are gone. Since gunicorn 24 the one whose failed boot stops
    the server has no hook of its own: its end is told here."""
    for worker in [one for one in _untold if _is_hooked(server.cfg, "child_exit")]:
        child_exit(server, worker)
    _emit("SHUTDOWN", server)
    _host.tell("SHUTDOWN")


# For the application.


def mark_configured(registry):
    """Says in the debug object that the application has configured forksafe, and gives its registry the live view.

    In the master (preload) or in a worker; `registry` is anything that takes attributes. What it has already stays.
    """
    _host.status("gunicorn mark_configured", "gunicorn", "gunicorn mark_configured")
    note("gunicorn mark_configured", "gunicorn mark_configured", "gunicorn")
    _applications.attach(registry)


# Opening.

_REQUIRED = "forksafe cannot work, and the ini says forksafe.required = true"
_STOPPED = "a subscriber with on_error = stop_server failed"
_UNREACHED = (
    "the application subscribes to ApplicationPreFork, which is in the master, where it is not loaded:"
    " start gunicorn with --preload, or write that hook in Lua"
)


def _open_once(server):
    """Opens for a Config not seen before. False: the server must not start."""
    if _opened_for is None:
        return _open(server) != ERRORS["EREQUIRED"]
    if _opened_for is not server.cfg:
        _reopen(server)
    return True


def _reopen(server):
    """A reload: whatever comes of it, the server runs, with the old scripts if the new ones cannot be had."""
    _open(server)
    if _emit("RELOAD", server) == STOP:
        os.kill(os.getpid(), signal.SIGTERM)
    _host.tell("RELOAD")


def _open_in_worker(worker):
    """Where pre_fork was not imported the worker is the first to come here: it opens for itself."""
    if _opened_for is None and _open(worker, os.getppid()) == ERRORS["EREQUIRED"]:
        _obey(worker, STOP)


def _open(process, master=0):
    """forksafe_open for an Arbiter or a Worker: both have app, cfg and log."""
    global _opened_for
    from gunicorn import __version__

    cfg = _opened_for = process.cfg
    _host.logger = process.log
    points = {event: hook for event, hook in POINTS.items() if event == "RELOAD" or _is_hooked(cfg, hook)}
    return _host.open(_ini(process.app), __version__, points, master, cfg.uid, cfg.gid)


def _is_hooked(cfg, hook):
    """Whether config.py sets the hook: to ours, or to a function that calls ours."""
    return getattr(getattr(cfg, hook), "__module__", None) != "gunicorn.config"


def _ini(app):
    """INI[#APP] that gunicorn serves: of --paste, or of pserve with `use = egg:gunicorn#main`. None: it has none."""
    if app.cfg.paste is not None:
        uri = getattr(app, "app_uri", None) or app.cfg.paste
        return uri[len("config:") :] if uri.startswith("config:") else uri
    if _is_pserve(app):
        return app.cfg.default_proc_name
    return None


def _is_pserve(app):
    return type(app).__module__ == "gunicorn.app.pasterapp"


def _is_loaded(app):
    """Whether the application is loaded in this process. app.wsgi() would tell too, by loading it."""
    return app.callable is not None or _is_pserve(app)


# Events and verdicts.


def _emit(event, process, worker=None, child=(0, 0, 0)):
    """Fires an event for `process`, the Arbiter or the Worker that this process is."""
    in_worker = process is worker
    return _host.emit(
        event,
        "worker" if in_worker else "master",
        worker=getattr(worker, "forksafe_slot", 0),
        forked=in_worker,
        app_loaded=_is_loaded(process.app),
        child=child,
    )


def _warn_of_pre_fork(worker):
    """Once, in the first worker: gunicorn had not loaded the application where PreFork was."""
    preloaded = getattr(worker, "forksafe_preloaded", True)
    if not preloaded and worker.forksafe_slot == 1 and _applications.has_subscribers("ApplicationPreFork"):
        _host.log("warning", "forksafe: %s" % _UNREACHED)


def _halt(reason):
    """Stops the server from its main loop, in order."""
    from gunicorn.errors import HaltServer

    raise HaltServer(reason, 1)


def _obey(worker, verdict):
    """Ends this worker where the verdict asks for it: to be replaced, or to stop the server, by the status that gunicorn
    takes for a failed boot. One worker gives that: a second one would break into the halt."""
    if verdict == OK:
        return
    first = int.from_bytes(_stopping[:], "little")
    if verdict == STOP and not first:
        from gunicorn.arbiter import Arbiter

        _stopping[:] = worker.pid.to_bytes(4, "little")
        _host.log("error", "forksafe: worker %d stops the server: %s" % (worker.pid, _STOPPED))
        sys.exit(Arbiter.WORKER_BOOT_ERROR)
    if verdict == STOP:
        _wait_reaped(first)
        time.sleep(0.5)  # the master is about to end this one
        os.kill(worker.ppid, signal.SIGTERM)  # unless Python dropped its HaltServer, raised in a callback of its own fork
    sys.exit(1)


def _wait_reaped(pid):
    """Until the master has this worker's status, on a busy machine later than others come here; 5 s at most."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except OSError:
            return
        time.sleep(0.05)


# Workers.


def _free_slot(server):
    """The smallest number that no worker of this generation has. At HUP the new workers get 1..N while the old
    ones, which have the same numbers, finish their requests."""
    taken = {getattr(other, "forksafe_slot", 0) for other in list(server.WORKERS.values()) if other.cfg is server.cfg}
    return next(slot for slot in range(1, len(taken) + 2) if slot not in taken)


def _how_it_ended():
    """(exit, signal) of the worker that gunicorn has just reaped, (-1, 0) if unknown. The hook is not told, but its
    callers know: reap_workers has the wait status, and halt the status of the boot that failed."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "reap_workers" and "status" in frame.f_locals:
            status = frame.f_locals["status"]
            return (-1, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), 0)
        if frame.f_code.co_name == "halt" and frame.f_locals.get("exit_status"):
            return (frame.f_locals["exit_status"], 0)
        frame = frame.f_back
    return (-1, 0)
