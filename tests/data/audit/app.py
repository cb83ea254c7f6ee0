# SPDX-License-Identifier: MIT
"""A WSGI application that opens, when it is imported, what the words in UNSAFE say (those of doctor/unsafe.py)."""
import os

import unsafe

for word in os.environ.get("UNSAFE", "").split():
    getattr(unsafe, word)()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
