# SPDX-License-Identifier: MIT
"""libforksafe.so for Python: found, loaded by ctypes, its structures and functions declared.

Runs in whatever process imports it. The functions release the interpreter's lock while they run; what that
means for signals is told at call().
"""
import ctypes
import os
import sys
import threading

from forksafe import _build

SONAME = "libforksafe.so.0"

EVENTS = {name: number for number, (name, _) in enumerate(_build.EVENTS)}
EVENT_NAMES = dict(_build.EVENTS)  # "POST_FORK": "ApplicationPostFork"
ROLES = {name: number for number, name in enumerate(_build.ROLES)}
ERRORS = _build.ERRORS

OK, RETIRE, STOP = range(3)  # enum forksafe_verdict
CANNOT_RETIRE, CANNOT_STOP = 1, 2  # forksafe_host.cannot

LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


class ForkPoint(ctypes.Structure):
    """struct forksafe_fork_point"""

    _fields_ = [
        ("event", ctypes.c_int32),
        ("atfork", ctypes.c_int32),
        ("hook", ctypes.c_char_p),
    ]


class HostStruct(ctypes.Structure):
    """struct forksafe_host; is_master stays NULL: we call at each fork point ourselves"""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("point_count", ctypes.c_uint32),
        ("container", ctypes.c_char_p),
        ("environment", ctypes.c_char_p),
        ("version", ctypes.c_char_p),
        ("ini", ctypes.c_char_p),
        ("points", ctypes.POINTER(ForkPoint)),
        ("master", ctypes.c_int),
        ("worker_uid", ctypes.c_uint),
        ("worker_gid", ctypes.c_uint),
        ("is_master", ctypes.c_void_p),
        ("log", LOG_CALLBACK),
        ("data", ctypes.c_void_p),
        ("problem", ctypes.c_char_p),
        ("cannot", ctypes.c_uint32),
        ("known", ctypes.c_char_p),
    ]


class Occasion(ctypes.Structure):
    """struct forksafe_occasion"""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("role", ctypes.c_int32),
        ("worker", ctypes.c_int32),
        ("forked", ctypes.c_int32),
        ("app_loaded", ctypes.c_int32),
        ("child_pid", ctypes.c_int),
        ("child_exit", ctypes.c_int32),
        ("child_signal", ctypes.c_int32),
    ]


def _declare(library):
    text = ctypes.c_char_p
    library.forksafe_open.argtypes = [ctypes.POINTER(HostStruct)]
    library.forksafe_emit.argtypes = [ctypes.c_int, ctypes.POINTER(Occasion)]
    library.forksafe_status.argtypes = [text, text, text]
    library.forksafe_debug_json.argtypes = []
    library.forksafe_debug_json.restype = ctypes.c_void_p  # as text ctypes would lose what has to be freed
    library.forksafe_free.argtypes = [ctypes.c_void_p]
    library.forksafe_free.restype = None
    library.forksafe_version.argtypes = []
    library.forksafe_version.restype = text
    return library


_loaded = None


def load():
    """The library: the one that this process already has, else the build's, else the system's.

    Raises OSError, in one line, where there is none. ctypes.util.find_library is not asked: it runs programs.
    """
    global _loaded
    if _loaded is not None:
        return _loaded
    problems = []
    for name, mode in (
        (SONAME, os.RTLD_NOW | os.RTLD_NOLOAD),
        (_build.LIBRARY, os.RTLD_NOW),
        (SONAME, os.RTLD_NOW),
    ):
        try:
            _loaded = _declare(ctypes.CDLL(name, mode=mode))
            return _loaded
        except (OSError, AttributeError) as error:
            if not mode & os.RTLD_NOLOAD:
                problems.append(str(error))
    raise OSError("libforksafe cannot be loaded: %s" % "; ".join(problems))


def call(function, *arguments):
    """Calls into the library, and raises here what was raised in the log callback meanwhile.

    Signals that arrive during the call are handled in the next Python code that runs, which may be the callback:
    gunicorn's handlers raise SystemExit or HaltServer there. C cannot pass an exception on, and ctypes hands it
    to sys.unraisablehook. Neither `try` in the callback nor a hook written in Python would do, since a handler
    can run before their first line; a list's own append has no such line.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*arguments)  # signals are not handled here, and the hook is not ours alone
    caught = []
    previous = sys.unraisablehook
    try:
        sys.unraisablehook = caught.append
        result = function(*arguments)
    finally:
        sys.unraisablehook = previous
    for entry in caught:
        if not _is_of_callback(entry):
            previous(entry)
    for entry in caught:
        if _is_of_callback(entry):
            raise entry.exc_value
    return result


def _is_of_callback(unraisable):
    return "ctypes callback" in str(unraisable.err_msg)
