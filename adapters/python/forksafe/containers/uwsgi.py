# SPDX-License-Identifier: MIT
"""uWSGI, as a Pyramid application sees it: `pyramid.includes = forksafe.containers.uwsgi`.

Tells applications of ApplicationPostFork, in each worker. Lua scripts and the journal of all processes come with the plugin
(adapters/uwsgi), not from here; without it the debug object is what this process has noted.
"""
from forksafe import _applications
from forksafe._debug import note, note_hook

NO_MASTER = "you have to enable the uWSGI master process to use this module"

_is_hooked = False


def includeme(config):
    """For config.include and pyramid.includes, under any server: elsewhere than in uWSGI the debug object says so."""
    _applications.include(config)
    try:
        import uwsgi
    except ImportError:
        note("uWSGI not available")
        return
    if not uwsgi.masterpid():
        note("uWSGI error: " + NO_MASTER, "uWSGI error")
        return
    note("uWSGI available")
    _hook(uwsgi)
    note("uWSGI hook configured", "uWSGI hook configured", "uWSGI")
    if uwsgi.worker_id():
        _applications.forked()  # --lazy-apps: the hook has been, or would have been


def _post_fork():
    note_hook("containers.uwsgi.post_fork_hook", _applications.POST_FORK)
    _applications.notify(_applications.POST_FORK)


def _hook(uwsgi):
    """uWSGI has one hook in Python. uwsgidecorators takes it for a list of functions, to which ours is added."""
    global _is_hooked
    if _is_hooked:
        return
    _is_hooked = True
    try:
        from uwsgidecorators import postfork
    except ImportError:
        others = getattr(uwsgi, "post_fork_hook", None)
        uwsgi.post_fork_hook = (lambda: (others(), _post_fork())) if others else _post_fork
    else:
        postfork(_post_fork)
