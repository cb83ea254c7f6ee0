# SPDX-License-Identifier: MIT
"""Pyramid's applications in this process, and how they are told of fork points.

An application is known once it is created, by its registry: nothing has to be loaded to find it, and no middleware
hides it. Any process; what its subscribers raise goes to the server, as from any hook of its own. Pyramid is imported only
where a registry is there, and with it Pyramid.
"""
import os
import weakref

from forksafe._debug import DebugView

POST_FORK = "ApplicationPostFork"

_registries = []  # weak references: a program may create any number of applications
_forked = 0  # pid of the worker in which PostFork has been


def include(config):
    """Makes the application of a Configurator one that is told."""
    attach(config.registry)
    config.add_subscriber(_created, "pyramid.events.ApplicationCreated")


def attach(registry):
    """Gives a registry the live debug object; `registry` is anything that takes attributes. What it has already stays."""
    view = DebugView()
    for name in ("forksafe", "pyramid_forksafe"):
        if not hasattr(registry, name):
            setattr(registry, name, view)


def forked():
    """Says that this process is a worker whose fork has been: applications created from now on are told then."""
    global _forked
    _forked = os.getpid()


def notify(name):
    """Tells all applications of an event; `name` is that of a class of events.py."""
    if name == POST_FORK:
        forked()
    for registry in _known():
        _tell(registry, name)


def has_subscribers(name):
    """Whether an application subscribed to just this event, by class or by interface."""
    for registry in _known():
        from forksafe import events, interfaces
        from zope.interface import implementedBy

        wanted = (implementedBy(getattr(events, name)), getattr(interfaces, "I" + name))
        if any(handler.required[0] in wanted for handler in registry.registeredHandlers()):
            return True
    return False


def _known():
    registries = [reference() for reference in _registries]
    return [registry for registry in registries if registry is not None]


def _created(event):
    registry = event.app.registry
    if any(one is registry for one in _known()):
        return
    _registries[:] = [weakref.ref(one) for one in _known() + [registry]]
    if _forked == os.getpid():
        _tell(registry, POST_FORK)


def _is_off(registry):
    """As the library sees it: by the environment, or by the application's own section."""
    from pyramid.settings import asbool

    enabled = (registry.settings or {}).get("forksafe.enabled", True)
    return os.environ.get("FORKSAFE", "").lower() == "off" or not asbool(enabled)


def _tell(registry, name):
    from forksafe import events

    if not _is_off(registry):
        registry.notify(getattr(events, name)(registry))
