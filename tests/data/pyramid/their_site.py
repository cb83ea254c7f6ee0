# SPDX-License-Identifier: MIT
"""An application as its users wrote it for pyramid_forksafe; pyramid_spec.lua changes the names in its imports and no more.

Its page tells, as JSON, which events this process was told of, and what the debug object says.
"""
import os

from pyramid.config import Configurator
from pyramid_forksafe.events import ApplicationPostFork
from pyramid_forksafe.events import ApplicationPostWorkerInit
from pyramid_forksafe.events import ApplicationPreFork

told = []


def tell(event):
    told.append([type(event).__name__, os.getpid(), event.registry.settings["colour"]])
    if os.environ.get("FAILS_AT") == type(event).__name__:
        raise RuntimeError("this hook fails")


def page(request):
    state = request.registry.pyramid_forksafe
    return {
        "pid": os.getpid(),
        "told": told,
        "status": state["status"],
        "environment": state["environment"],
        "autoconfigure.log": state["autoconfigure.log"],
        "executed_hooks": sorted(state["executed_hooks"]),
    }


def main(global_config, **settings):
    print("loaded in %d" % os.getpid(), flush=True)
    config = Configurator(settings=settings)
    for event in (ApplicationPreFork, ApplicationPostFork, ApplicationPostWorkerInit):
        config.add_subscriber(tell, event)
    config.add_route("page", "/")
    config.add_view(page, route_name="page", renderer="json")
    if "marks" in settings:
        from pyramid_forksafe.containers.gunicorn import mark_configured

        mark_configured(config.registry)
    return config.make_wsgi_app()
