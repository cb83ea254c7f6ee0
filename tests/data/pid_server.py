# SPDX-License-Identifier: MIT
#
# A tiny HTTP server for tests: pid_server.py PORT answers every GET on 127.0.0.1:PORT with "<pid> <FORKSAFE_WORKER>". Several
# may share the port (SO_REUSEPORT). It runs as the COMMAND of forksafe prefork workers.
import http.server
import os
import signal
import socket
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.getpid()} {os.environ.get('FORKSAFE_WORKER', '')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(http.server.HTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
Server(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
