# SPDX-License-Identifier: MIT
"""What every adapter written in Python does with the library: open, emit, status, log.

One Host a process, made by an adapter's module; workers have it by the fork. Nothing here raises because forksafe
is missing or misconfigured: that is one line in the server's log, and the server runs on.
"""
import ctypes
import logging

from forksafe import _applications
from forksafe._debug import note_hook
from forksafe._library import ERRORS, EVENT_NAMES, EVENTS, LOG_CALLBACK, OK, ROLES
from forksafe._library import ForkPoint, HostStruct, Occasion, call, load

LEVELS = ("debug", "info", "warning", "error")  # enum forksafe_log_level

_sink = None  # the Host whose log gets the library's lines


@LOG_CALLBACK
def _on_line(_data, level, line):
    _sink.log(LEVELS[level], (line or b"").decode("utf-8", "replace"))


def _bytes(text):
    return None if text is None else str(text).encode("utf-8", "surrogateescape")


class Host:
    """An adapter's side of the library in this process."""

    def __init__(self, container, environment, points):
        self.container = container
        self.environment = environment
        self.points = dict(points)  # the server's name by event: where tell() is called from
        self.logger = logging.getLogger("forksafe")  # the adapter puts its server's own here
        self.library = None  # None: not asked for yet, or not there
        self.is_open = False
        self.marks = []  # what status() was told; said again after each opening

    def log(self, level, text):
        """Writes one line to the server's log; `level` is one of LEVELS."""
        getattr(self.logger, level)("%s", text)

    def open(self, ini, version, points, master=0, uid=-1, gid=-1, problem=None, cannot=0, known=None):
        """forksafe_open: `points` maps names of EVENTS to the server's names. The first time or a reload. `problem`: why
        this server cannot be served as it is configured; `cannot`: CANNOT_RETIRE and CANNOT_STOP, added up; `known`: the
        audit's findings that are this server's own business, a pattern a line.

        Returns 0 or one of ERRORS' values; ENOENT where there is no library. What failed stands in the log.
        """
        global _sink
        _sink = self
        try:
            library = load()
        except OSError as error:
            self.log("error", "forksafe: %s; the server runs without its hooks" % error)
            return ERRORS["ENOENT"]
        self.points.update(points)
        table = [ForkPoint(EVENTS[event], 0, _bytes(hook)) for event, hook in points.items()]
        host = HostStruct(
            size=ctypes.sizeof(HostStruct),
            point_count=len(table),
            container=_bytes(self.container),
            environment=_bytes(self.environment),
            version=_bytes(version),
            ini=_bytes(ini),
            points=(ForkPoint * len(table))(*table),
            master=master,
            worker_uid=uid & 0xFFFFFFFF,
            worker_gid=gid & 0xFFFFFFFF,
            log=_on_line,
            problem=_bytes(problem),
            cannot=cannot,
            known=_bytes(known),
        )
        self.library = library
        code = call(library.forksafe_open, ctypes.byref(host))
        self.is_open = self.is_open or code == 0  # a reload that failed leaves it open
        for mark in self.marks:
            self._status(mark)
        return code

    def emit(self, event, role, worker=0, forked=False, app_loaded=False, child=(0, 0, 0)):
        """forksafe_emit: `event` is one of EVENTS, `role` one of ROLES, `child` (pid, exit, signal) of a ChildExit.

        Returns OK, RETIRE or STOP. Each call has its own structure: a signal handler may emit within an emit.
        """
        if self.library is not None:
            size = ctypes.sizeof(Occasion)
            occasion = Occasion(size, ROLES[role], worker, forked, app_loaded, *child)
            return call(self.library.forksafe_emit, EVENTS[event], ctypes.byref(occasion))
        return OK

    def tell(self, event):
        """Tells the applications in this process. Where there is no journal, the debug object has it from here."""
        name = EVENT_NAMES[event]
        note_hook("containers.%s.%s" % (self.container, self.points[event]), name)
        _applications.notify(name)

    def status(self, status, environment, line):
        """forksafe_status, now and after each later opening: it may be told before the library is open. Where it cannot
        be opened, the debug object goes on saying why."""
        mark = (status, environment, line)
        if mark not in self.marks:
            self.marks.append(mark)
        self._status(mark)

    def _status(self, mark):
        if self.is_open:
            call(self.library.forksafe_status, *map(_bytes, mark))
