# SPDX-License-Identifier: MIT
"""What the events of events.py are, for applications that subscribe by interface."""
from zope.interface import Attribute, Interface


class IApplicationEvent(Interface):
    """A fork point of the server."""

    registry = Attribute("The registry of the application that is told.")


class IApplicationMasterReady(IApplicationEvent):
    """The master is up, before the first fork."""


class IApplicationPreFork(IApplicationEvent):
    """A worker is about to be forked."""


class IApplicationPostFork(IApplicationEvent):
    """A worker was just forked."""


class IApplicationPostWorkerInit(IApplicationEvent):
    """A worker has loaded the application."""


class IApplicationWorkerExit(IApplicationEvent):
    """A worker is about to exit in an orderly way."""


class IApplicationChildExit(IApplicationEvent):
    """A worker was reaped."""


class IApplicationReload(IApplicationEvent):
    """An in-place reload."""


class IApplicationShutdown(IApplicationEvent):
    """The server's orderly end."""
