# SPDX-License-Identifier: MIT
"""A thread of the master holds a lock for most of its time: in a worker nobody will ever release it (scenario 5)."""
import threading
import time

lock = threading.Lock()
held = threading.Event()


def refresh():
    while True:
        with lock:
            held.set()
            time.sleep(0.2)
        time.sleep(0.0001)


threading.Thread(target=refresh, name="refresher", daemon=True).start()
held.wait()


def application(environ, start_response):
    with lock:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"][1:].encode()]
