# SPDX-License-Identifier: MIT
"""Answers every connection with what it sends; prints its port first."""
import selectors
import socket

server = socket.create_server(("127.0.0.1", 0))
print("echo", server.getsockname()[1], flush=True)
waiting = selectors.DefaultSelector()
waiting.register(server, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        if key.fileobj is server:
            waiting.register(server.accept()[0], selectors.EVENT_READ)
            continue
        try:
            data = key.fileobj.recv(4096)
        except ConnectionError:
            data = b""
        if data:
            key.fileobj.sendall(data)
        else:
            waiting.unregister(key.fileobj)
            key.fileobj.close()
