# SPDX-License-Identifier: MIT
"""The application that celery_spec.lua runs: half a second to import, and tasks that return who ran them.

From the environment: BROKER, BACKEND (a Redis server), INI for app.conf.forksafe_ini, QUEUES, a directory that is the
broker where it is filesystem://, and FORKS, where the master shall fork what is no worker. Called with a word it is the
client:

    who N           sends N tasks and prints who ran them, one a line: pid, number of the process (0: none), parent
    pool_grow N     or pool_shrink N: tells the worker, and prints its answer
"""
import multiprocessing
import os
import subprocess
import sys
import time

import billiard
from celery import Celery, signals

IS_CLIENT = __name__ == "__main__"

if not IS_CLIENT:
    time.sleep(0.5)
    print("imported in %d" % os.getpid(), flush=True)

app = Celery("slow_tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.imports = ["forksafe.containers.celery"]
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_prefetch_multiplier = 1
app.conf.worker_enable_remote_control = not os.environ["BROKER"].startswith("filesystem")
if "INI" in os.environ:
    app.conf.forksafe_ini = os.environ["INI"]
if "QUEUES" in os.environ:
    names = ("data_folder_in", "data_folder_out", "control_folder")
    app.conf.broker_transport_options = {name: os.environ["QUEUES"] for name in names}


@app.task(name="who", expires=30)
def who(seconds):
    time.sleep(seconds)
    return os.getpid(), getattr(billiard.current_process(), "index", -1) + 1, os.getppid()


def fork_what_is_no_worker(**_):
    """Each way of Python to fork a process; none of them is a worker."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.run(["true"], preexec_fn=os.getpid, check=True)
    os.system("true")
    for module in (multiprocessing, billiard):
        child = module.Process(target=os.getpid)
        child.start()
        child.join()


if "FORKS" in os.environ:
    signals.celeryd_after_setup.connect(fork_what_is_no_worker)
    signals.worker_ready.connect(fork_what_is_no_worker)


def main(command, number):
    if command == "who":
        results = [who.delay(0.05) for _ in range(number)]
        for result in results:
            print(*result.get(timeout=15))
    else:
        print(getattr(app.control, command)(number, reply=True, timeout=1))


if IS_CLIENT:
    main(sys.argv[1], int(sys.argv[2]))
