# SPDX-License-Identifier: MIT
"""The debug object in Python: built by the library from this process's journal, whichever adapter opened it.

Any process. What forksafe.debug() returns is a copy; what hangs on a registry is the view, read anew at each look.
"""
import ctypes
import json
from collections.abc import Mapping

from forksafe._library import load


def debug():
    """The debug object as a dict (schema forksafe.debug/1). Where forksafe is not open: its four oldest keys."""
    found = {
        "status": "attempting auto-configure",
        "environment": None,
        "autoconfigure.log": [],
        "executed_hooks": [],
    }
    try:
        library = load()
    except OSError:
        return found
    text = library.forksafe_debug_json()
    if not text:
        return found
    try:
        found.update(json.loads(ctypes.string_at(text)))
    finally:
        library.forksafe_free(text)
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
