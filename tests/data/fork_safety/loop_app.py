# SPDX-License-Identifier: MIT
"""An event loop made while the application is imported: the workers share its epoll set and its wake-up pipe, and take each other's
wake-ups (scenario 6)."""
import asyncio
import time

loop = asyncio.new_event_loop()


async def work():
    for _ in range(20):
        await loop.run_in_executor(None, time.sleep, 0.0005)


def application(environ, start_response):
    loop.run_until_complete(work())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"][1:].encode()]
