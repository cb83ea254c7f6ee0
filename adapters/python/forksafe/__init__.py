# SPDX-License-Identifier: MIT
"""forksafe: hooks in Lua at the right fork point of every pre-forking server.

    from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init    # in gunicorn's config.py
    forksafe.debug()                                                                  # what ran, anywhere

Importing this loads nothing but Python; the library comes with the first use.
"""
from forksafe._build import VERSION as __version__
from forksafe._debug import DebugView, debug

__all__ = ["DebugView", "__version__", "debug"]
