"""Three workers of multiprocessing, and a word of each: nothing here knows of forksafe."""
import multiprocessing
import os
import time


def work(number):
    time.sleep(0.1)
    return "%d by process %d" % (number, os.getpid())


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print(", ".join(pool.map(work, range(3), chunksize=1)))
        pool.close()
        pool.join()
