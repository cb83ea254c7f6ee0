# SPDX-License-Identifier: MIT
"""Asks a server from several threads at once and counts what came back.

    load.py PORT REQUESTS THREADS TIMEOUT [together]

With `together` the threads wait for each other before each request. Request N is GET /N, and its right answer is a body whose first word is N. One JSON object on standard output: `right`, `wrong` (HTTP 200
with another body: what nobody notices), `failed` (any other status, or the connection broke), `hung` (no answer in TIMEOUT seconds), and
`bodies` of the right ones.
"""
import http.client
import json
import socket
import sys
import threading

port, requests, threads, timeout = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
counts = {"right": 0, "wrong": 0, "failed": 0, "hung": 0}
bodies = []
lock = threading.Lock()
barrier = threading.Barrier(threads) if "together" in sys.argv else None


def ask(number):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/%d" % number)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
    except socket.timeout:
        return "hung", ""
    except (OSError, http.client.HTTPException):
        return "failed", ""
    finally:
        connection.close()
    if answer.status != 200:
        return "failed", body
    return ("right" if body.split()[:1] == [str(number)] else "wrong"), body


def work(first):
    for number in range(first, requests, threads):
        if barrier:
            barrier.wait()
        what, body = ask(number)
        with lock:
            counts[what] += 1
            if what == "right":
                bodies.append(body)


workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(json.dumps(dict(counts, bodies=bodies)))
