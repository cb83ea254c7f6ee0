# SPDX-License-Identifier: MIT
"""The panel for django-debug-toolbar, in the settings:

    DEBUG_TOOLBAR_PANELS = [..., "forksafe.django.ForksafePanel"]
"""
from debug_toolbar.panels import Panel
from django.utils.safestring import mark_safe

from forksafe._panel import snapshot


class ForksafePanel(Panel):
    """All processes of this server, as they were when the request was answered."""

    title = "forksafe"
    is_async = True

    def generate_stats(self, request, response):
        """Takes the snapshot: strings, which the toolbar may store where it likes."""
        summary, content = snapshot()
        self.record_stats({"summary": summary, "content": content})

    @property
    def nav_subtitle(self):
        """ "3 workers" """
        return self.get_stats().get("summary", "")

    @property
    def content(self):
        """The panel's HTML."""
        return mark_safe(self.get_stats().get("content", ""))
