# SPDX-License-Identifier: MIT
"""Somebody to be connected to: accepts on loopback, IPv4, IPv6 and a unix socket, and answers nothing.

    peer.py PATH [apart]     prints "peer PORT PORT6"; apart: in a network namespace of its own
"""
import ctypes
import fcntl
import select
import socket
import struct
import sys

if sys.argv[2:] == ["apart"]:
    assert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET
    fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS: up
here = socket.socket(socket.AF_UNIX)
here.bind(sys.argv[1])
here.listen()
servers = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6), here]
print("peer", servers[0].getsockname()[1], servers[1].getsockname()[1], flush=True)
kept = []
while True:
    for server in select.select(servers, [], [])[0]:
        kept.append(server.accept())
