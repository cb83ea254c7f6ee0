# SPDX-License-Identifier: MIT
"""The server's fork points as events of a Pyramid application that includes forksafe:

    from forksafe.events import ApplicationPostFork

    config.add_subscriber(reconnect, ApplicationPostFork)   # reconnect(event), event.registry.settings

They come beside those of the Lua scripts, which have more: a time limit, a policy, a place in the journal. The events of
a master reach an application only where the master has it loaded. Needs zope.interface, which Pyramid has.
"""
from zope.interface import implementer

from forksafe import interfaces


class ApplicationEvent:
    """What all of them have: `registry`, of the application that is told."""

    def __init__(self, registry):
        self.registry = registry


@implementer(interfaces.IApplicationMasterReady)
class ApplicationMasterReady(ApplicationEvent):
    """In the master, which is up, before the first fork."""


@implementer(interfaces.IApplicationPreFork)
class ApplicationPreFork(ApplicationEvent):
    """In the master, which is about to fork a worker."""


@implementer(interfaces.IApplicationPostFork)
class ApplicationPostFork(ApplicationEvent):
    """In the worker, just forked; where that loads the application itself, as soon as it is created."""


@implementer(interfaces.IApplicationPostWorkerInit)
class ApplicationPostWorkerInit(ApplicationEvent):
    """In the worker, which has loaded the application."""


@implementer(interfaces.IApplicationWorkerExit)
class ApplicationWorkerExit(ApplicationEvent):
    """In the worker, which is about to exit in an orderly way."""


@implementer(interfaces.IApplicationChildExit)
class ApplicationChildExit(ApplicationEvent):
    """In the master, which has reaped a worker."""


@implementer(interfaces.IApplicationReload)
class ApplicationReload(ApplicationEvent):
    """In the master, at an in-place reload."""


@implementer(interfaces.IApplicationShutdown)
class ApplicationShutdown(ApplicationEvent):
    """In the master, at its orderly end."""
