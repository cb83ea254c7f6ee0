# SPDX-License-Identifier: MIT
"""A Python program that forks workers with multiprocessing, and other processes that are none: says the workers' pids."""
import multiprocessing
import os
import subprocess
import sys
import time

FORK = multiprocessing.get_context("fork")


def work(_):
    time.sleep(0.05)
    return os.getpid()


def run_other_programs():
    subprocess.run(["true"], check=True)
    subprocess.run(["true"], check=True, start_new_session=True)
    os.system("true")
    os.posix_spawnp("true", ["true"], os.environ)
    os.wait()


def daemonise():
    """As python-daemon does."""
    for begin in (os.setsid, lambda: None):
        if os.fork():
            os._exit(0)
        begin()
    print("daemon", os.getpid(), flush=True)


def main(what):
    if what == "daemon":
        daemonise()
    run_other_programs()
    if what == "process":
        process = FORK.Process(target=run_other_programs)
        process.start()
        process.join()
        print("worker", process.pid, flush=True)
        return
    with FORK.Pool(3) as pool:
        run_other_programs()
        for pid in sorted(set(pool.map(work, range(60), chunksize=1))):
            print("worker", pid, flush=True)
        pool.close()
        pool.join()


main(sys.argv[1])
