# SPDX-License-Identifier: MIT
"""The panel for pyramid_debugtoolbar, in the application's ini:

    debugtoolbar.includes = forksafe.debugtoolbar

The toolbar switches itself off under a server with more than one process, since it keeps its requests in memory. The
panel has no such limit. With

    debugtoolbar.forksafe_multiprocess = true

the toolbar stays on: each worker shows the requests that it answered itself, and the panel shows all workers.
"""
from pyramid.settings import asbool
from pyramid_debugtoolbar.panels import DebugPanel

from forksafe._panel import snapshot

MULTIPROCESS = "debugtoolbar.forksafe_multiprocess"


class ForksafeDebugPanel(DebugPanel):
    """All processes of this server, as they were when the request came."""

    name = "forksafe"
    title = "forksafe"
    nav_title = "forksafe"
    has_content = True

    def __init__(self, request):
        super().__init__(request)
        self.nav_subtitle, self._content = snapshot()

    def render_content(self, request):
        """The panel's HTML."""
        return self._content


def stay_on(handler, registry):
    """A tween above the toolbar's, which looks at wsgi.multiprocess and leaves."""

    def tween(request):
        request.environ["wsgi.multiprocess"] = False
        return handler(request)

    return tween


def _add_tween(config):
    config.add_tween("forksafe.debugtoolbar.stay_on", over="pyramid_debugtoolbar.toolbar_tween_factory")


def includeme(config):
    """Adds the panel to the toolbar; `config` is the toolbar's own."""
    config.add_debugtoolbar_panel(ForksafeDebugPanel, is_global=True)
    if asbool(config.registry.parent_registry.settings.get(MULTIPROCESS)):
        config.inject_parent_action(_add_tween)
