# SPDX-License-Identifier: MIT
"""A pre-forking server that opens what it is told before it forks three workers, and names what that is.

    unsafe.py [WORD...]      each WORD a function below: one object that is not safe to fork, or one that is
"""
import ctypes
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
kept = []
after = []  # what a worker does first
directory = os.getcwd()


def epoll():
    kept.append(select.epoll())


def eventfd():
    kept.append(os.eventfd(0))


def loop():
    epoll()
    eventfd()
    kept[-2].register(kept[-1])


def leftover():
    loop()
    after.append(lambda: kept[-2].close())  # a worker that stays away from it


def heap():
    import billiard.heap

    kept.append(billiard.heap.BufferWrapper(64))  # made to be shared


def timerfd():
    kept.append(libc.timerfd_create(1, 0o2000000))


def inotify():
    kept.append(libc.inotify_init1(0o2000000))


def signalfd():
    mask = (ctypes.c_ulong * 16)(1 << (signal.SIGUSR2 - 1))
    kept.append(libc.signalfd(-1, ctypes.byref(mask), 0o2000000))


def sqlite():
    connection = sqlite3.connect(directory + "/state.db")
    connection.execute("create table if not exists seen (pid integer)")
    connection.commit()
    kept.append(connection)


def file():
    kept.append(open(directory + "/report.txt", "w"))
    kept[-1].write("begun\n")
    kept[-1].flush()


def log():
    kept.append(open(directory + "/server.log", "a"))
    kept[-1].write("begun\n")
    kept[-1].flush()


def lock():
    kept.append(open(directory + "/server.lock", "w"))


def thread():
    def work():
        libc.prctl(15, b"telemetry7", 0, 0, 0)
        time.sleep(600)
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.1)


def tcp():
    kept.append(socket.create_connection(("127.0.0.1", int(os.environ["PEER_PORT"]))))


def tcp6():
    kept.append(socket.create_connection(("::1", int(os.environ["PEER_PORT6"]))))


def udp():
    kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    kept[-1].connect(("127.0.0.1", int(os.environ["PEER_PORT"])))


def unix():
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].connect(os.environ["PEER_PATH"])


def streams():  # as under inetd or systemd, with a duplicate
    tcp()
    os.dup2(kept[-1].fileno(), 0)


def pairs():
    kept.extend(socket.socketpair())
    kept.extend(os.pipe())


def inner():
    server = socket.socket(socket.AF_UNIX)
    server.bind(directory + "/inner")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(directory + "/inner")
    kept.extend([server, client, server.accept()[0]])


def listener():
    kept.append(socket.create_server(("127.0.0.1", 0)))


def accepted():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    kept.append(server)
    kept.append(server.accept()[0])
    kept.append(subprocess.Popen(["/bin/sleep", "600"], pass_fds=[client.fileno()]))
    client.close()


def leaked():
    server = socket.create_server(("127.0.0.1", 0))
    kept.append(server)
    server.set_inheritable(True)
    kept.append(subprocess.Popen(["/bin/sleep", "600"], close_fds=False))


def passed():
    server = socket.create_server(("127.0.0.1", 0))
    kept.append(server)
    kept.append(subprocess.Popen(["/bin/sleep", "600"], pass_fds=[server.fileno()]))


def name():
    libc.prctl(15, b"\x1b[31m) S 1 \n\x07", 0, 0, 0)


def main():
    workers = []
    for word in sys.argv[1:]:
        globals()[word]()
    read, write = os.pipe()
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os.close(read)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for call in after:
                call()
            own = select.epoll(), os.eventfd(0), open("/dev/null"), open(directory + "/server.log", "a")
            os.write(write, b"x")
            os.close(write)
            time.sleep(600)
            os._exit(len(own))
        workers.append(pid)

    def end(*_):
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        for one in kept:
            if isinstance(one, subprocess.Popen):
                one.kill()
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
    os.close(write)
    while os.read(read, 1):
        pass
    os.close(read)
    print("ready", " ".join(map(str, workers)), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
