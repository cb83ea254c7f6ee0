# SPDX-License-Identifier: MIT
"""The Pyramid application of newest/toolbar_spec.lua: one page; the toolbar comes by its ini."""
import os

from pyramid.config import Configurator
from pyramid.response import Response


def page(request):
    body = "<html><body>page of %d, multiprocess %s</body></html>" % (os.getpid(), request.environ["wsgi.multiprocess"])
    return Response(body)


def main(global_conf, **settings):
    config = Configurator(settings=settings)
    config.add_route("page", "/")
    config.add_view(page, route_name="page")
    return config.make_wsgi_app()
