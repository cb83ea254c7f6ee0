# SPDX-License-Identifier: MIT
"""The debug object in Python: built by the library from this process's journal, whichever adapter opened it.

Any process. What forksafe.debug() returns is a copy; what hangs on a registry is the view, read anew at each look.
Where there is no journal, what this process itself has noted stands in for it: its four oldest keys.
"""
import ctypes
import json
from collections.abc import Mapping

from forksafe._library import load

_status = "attempting auto-configure"
_environment = None
_lines = []
_hooks = []  # distinct (hook, event), in order of their first time; workers have the master's by the fork


def note(line, status=None, environment=None):
    """Appends a line to the autoconfigure log, unless it stands there; with a status and an environment, if they are known."""
    global _status, _environment
    _status = status or _status
    _environment = environment or _environment
    if line not in _lines:
        _lines.append(line)


def note_hook(hook, event):
    """Notes that a hook fired an event in this process."""
    if (hook, event) not in _hooks:
        _hooks.append((hook, event))


def journal():
    """The debug object of this process's journal (schema forksafe.debug/1); None where forksafe is not open here.

    Raises OSError, in one line, where there is no library.
    """
    library = load()
    text = library.forksafe_debug_json()
    if not text:
        return None
    try:
        return json.loads(ctypes.string_at(text))
    finally:
        library.forksafe_free(text)


def debug():
    """The debug object as a dict (schema forksafe.debug/1). Where forksafe is not open: its four oldest keys."""
    found = {
        "status": _status,
        "environment": _environment,
        "autoconfigure.log": list(_lines),
        "executed_hooks": list(_hooks),
    }
    try:
        found.update(journal() or {})
    except OSError:
        pass
    found["executed_hooks"] = [tuple(pair) for pair in found["executed_hooks"]]
    return found


class DebugView(Mapping):
    """The debug object, live and read-only: view["executed_hooks"] is what has run by now, in all processes."""

    def __getitem__(self, key):
        return debug()[key]

    def __iter__(self):
        return iter(debug())

    def __len__(self):
        return len(debug())

    def __repr__(self):
        return "DebugView(%r)" % debug()
