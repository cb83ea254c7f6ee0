# SPDX-License-Identifier: MIT
"""A WSGI application that opens a connection where it is imported, if PEER_PORT says where to."""
import os
import socket

connection = "PEER_PORT" in os.environ and socket.create_connection(("127.0.0.1", int(os.environ["PEER_PORT"])))


def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
