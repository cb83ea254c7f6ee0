# SPDX-License-Identifier: MIT
"""The four counts that stand beside every time: minor faults, instructions, private dirty kilobytes of the whole
process and system calls.

They are of the last process that a command forks, from the fork to its end, or of the command itself.
"""
import json
import os
import subprocess

KEYS = ("minor faults", "instructions", "private dirty kB", "system calls")
PATIENCE = 300.0  # seconds; valgrind is some fifty times slower


def wrapped(bench, argv, whole=False):
    """The command that runs `argv` and leaves its counts for `taken`."""
    return [bench.tool("counts"), "whole" if whole else "last", bench.tool("counted.json"), *argv]


def taken(bench):
    with open(bench.tool("counted.json"), encoding="ascii") as file:
        return json.load(file)


def of_command(bench, argv, whole=False, environment=None, given=b"", valgrind=True):
    """Counts of a command, which is run twice: by counts.c and by callgrind."""
    environment = {**os.environ, **(environment or {})}
    quiet = {"env": environment, "input": given, "stdout": subprocess.DEVNULL, "timeout": PATIENCE, "check": False}
    subprocess.run(wrapped(bench, argv, whole), stderr=subprocess.DEVNULL, **quiet)
    counts = taken(bench)
    if valgrind and not bench.quick:
        zero = [] if whole else ["--zero-before=fork"]
        tool = ["valgrind", "--tool=callgrind", "--trace-children=yes", "--callgrind-out-file=/dev/null", *zero]
        done = subprocess.run([*tool, *argv], stderr=subprocess.PIPE, **quiet)
        counts["instructions"] = instructions(done.stderr.decode(errors="replace"), whole)
    return counts


def instructions(report, whole):
    """What callgrind says of the first process, or of the last."""
    lines = [line.split() for line in report.splitlines() if line.startswith("==") and " Collected : " in line]
    of_process = {int(words[0].strip("=")): int(words[-1]) for words in lines}
    return of_process[min(of_process) if whole else max(of_process)] if of_process else None


def less(counts, other, per=1):
    """What one has more than the other, for each of `per` things. Memory is of the whole process, and stays."""
    difference = {}
    for key, value in counts.items():
        if value is not None and other.get(key) is not None:
            difference[key] = value if key == "private dirty kB" else (value - other[key]) / per
    return difference
