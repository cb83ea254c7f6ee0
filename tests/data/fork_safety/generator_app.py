# SPDX-License-Identifier: MIT
"""A generator made while the application is imported: every worker draws the same numbers (scenario 7)."""
import os
import random

generator = random.Random()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%s %d %d" % (environ["PATH_INFO"][1:].encode(), os.getpid(), generator.getrandbits(63))]
