# SPDX-License-Identifier: MIT
"""A plain program that forks two workers, and opens before that what its words say (unsafe.py of the doctor's tests has them).

    forks.py [WORD...]     it ends, with its workers, by TERM; WORD stubborn: by nothing but KILL; done: by itself, after a second;
    one: it forks one worker; failing: its workers end at once, with status 1, and others follow
"""
import os
import signal
import sys
import time

import unsafe

words = sys.argv[1:]
seconds = 1 if "done" in words else 600
for word in words:
    if word not in ("stubborn", "done", "failing", "one"):
        getattr(unsafe, word)()
if "stubborn" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
while "failing" in words:
    if os.fork() == 0:
        os._exit(1)
    os.wait()
    time.sleep(0.1)
workers = []
for _ in range(1 if "one" in words else 2):
    pid = os.fork()
    if pid == 0:
        time.sleep(seconds)
        os._exit(0)
    workers.append(pid)
print("forked", *workers, flush=True)
for pid in workers:
    os.waitpid(pid, 0)
