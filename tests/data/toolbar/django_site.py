# SPDX-License-Identifier: MIT
"""The Django site of toolbar_spec.lua: one page, with the toolbar and forksafe's panel."""
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, path

settings.configure(
    DEBUG=True,
    SECRET_KEY="a test's",
    ALLOWED_HOSTS=["127.0.0.1"],
    INTERNAL_IPS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    STATIC_URL="/static/",
    INSTALLED_APPS=["django.contrib.staticfiles", "debug_toolbar"],
    MIDDLEWARE=["debug_toolbar.middleware.DebugToolbarMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    DEBUG_TOOLBAR_PANELS=["debug_toolbar.panels.timer.TimerPanel", "forksafe.django.ForksafePanel"],
    DEBUG_TOOLBAR_CONFIG={"RENDER_PANELS": "TOOLBAR_RENDERS" not in os.environ},
)
application = get_wsgi_application()  # before what needs Django's registry


def page(request):
    return HttpResponse("<html><body>page of %d</body></html>" % os.getpid())


urlpatterns = [path("", page), path("__debug__/", include("debug_toolbar.urls"))]
