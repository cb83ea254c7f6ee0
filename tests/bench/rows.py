#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# The measuring part of run.sh: rows.py BUILD SCRATCH SITE_PACKAGES RESULT.json PLOT.svg [--quick] [--only N,N].
# Arms of a row alternate within each round, rounds go through all rows.
import argparse
import os
import platform
import sys
import time

import figures
import servers
from bench import Bench
from rows_command import Audit, Doctor, Json
from rows_hook import ForkToExit, Growth, HookInPython, Open, Preload
from rows_server import Memory, Start


def everything():
    """Groups of rows: those of a group alternate, and what a group keeps alive is gone before the next."""
    return [
        [
            HookInPython(),
            ForkToExit(),
            Memory(),
            Start(
                5,
                "nginx, 64 workers, from start to all ready, one hook",
                servers.nginx,
                "lua",
                "lua-nginx-module",
                64,
                0.5,
            ),
            Start(
                6,
                "uWSGI, 32 workers, from start to all accepting, one hook",
                servers.uwsgi,
                "theirs",
                "pyramid_forksafe",
                32,
                0.1,
            ),
            Preload(),
            Open(),
        ],
        [Audit()],
        [Doctor()],
        [Json()],
        [Growth()],
    ]


def measure(bench, group):
    for number in range(bench.rounds):
        for part in group:
            part.round(bench)
        print("round %d of %d" % (number + 1, bench.rounds), file=sys.stderr)
    for part in group:
        part.finish(bench)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine()
        )
    load = os.getloadavg()[0]
    return "%s, %d cores, Linux %s, %s, load %.1f" % (
        model,
        os.cpu_count(),
        platform.release(),
        time.strftime("%Y-%m-%d", time.gmtime()),
        load,
    )


def main():
    parser = argparse.ArgumentParser()
    for name in ("build", "scratch", "site_packages", "result", "plot"):
        parser.add_argument(name)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    wanted = arguments.only.split(",") if arguments.only else []
    here, rows = machine(), []
    print("%s; %d rounds" % (here, bench.rounds))
    for group in everything():
        chosen = [
            part for part in group if not wanted or any(str(row.number).rstrip("bc") in wanted for row in part.rows)
        ]
        if chosen:
            measure(bench, chosen)
        rows += [row for part in chosen for row in part.rows]
    rows.sort(key=lambda row: int(str(row.number).rstrip("bc")))
    print(figures.table(rows))
    print()
    print(figures.four_table(rows))
    figures.write(rows, here, arguments.result)


main()
