# SPDX-License-Identifier: MIT
"""forksafe: hooks in Lua at the right fork point of every pre-forking server.

    from forksafe.containers.gunicorn import pre_fork, post_fork, post_worker_init    # in gunicorn's config.py
    forksafe.debug()                                                                  # what ran, anywhere
    pyramid.includes = forksafe                                                       # a Pyramid application's ini

Importing this loads nothing but Python; the library comes with the first use.
"""
from forksafe._build import VERSION as __version__
from forksafe._debug import DebugView, debug

__all__ = ["DebugView", "__version__", "debug", "includeme"]


def includeme(config):
    """Pyramid: registry.forksafe is the debug object, and subscribers to forksafe.events are told of the server's fork
    points. Under uWSGI by this alone; under gunicorn config.py imports the hooks."""
    from forksafe.containers import uwsgi

    uwsgi.includeme(config)
