# SPDX-License-Identifier: MIT
"""The rows about what looks at a server: the audit, `doctor` and `debug`."""
import os
import subprocess
import sys

import counts
import figures
import growth
import servers
from bench import HERE, processor_ms

# The peak of a command, asked by a small process: a command begins with the peak of what started it.
PEAK = """
import os, sys
pid = os.fork()
if not pid:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv(sys.argv[1], sys.argv[1:])
print(os.wait4(pid, 0)[2].ru_maxrss)
"""


class Audit:
    """Row 8: one look at a master of many descriptors, in processor time, less what the same fork costs without."""

    def __init__(self):
        self.row = figures.Row(8, "the audit's look at 10,000 descriptors, processor", "ms", 0.05, "lsof -nP -p")
        self.floor = figures.Row("8b", "its floor: the bare calls that tell what each is", "ms", None, "lsof -nP -p")
        self.rows = [self.row, self.floor]
        self.holder = None

    def round(self, bench):
        count = "1000" if bench.quick else "10000"
        inis = [
            servers.write_ini(bench.directory("look"), bench.directory("look/hooks"), audit, "error")
            for audit in ("on", "off")
        ]
        if not self.holder:
            self.holder = subprocess.Popen(
                [bench.tool("audit"), inis[1], count, "1"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "AUDIT_WAITS": "1"},
            )
            self.holder.stdout.readline()
        self.inis = inis
        runs = [bench.run(bench.tool("audit"), ini, count, "5", answer=False).stdout.split() for ini in inis]
        looks, floor = [float(run[0]) for run in runs], float(runs[0][3])
        lsof = processor_ms(["lsof", "-nP", "-p", str(self.holder.pid)])
        self.row.add((looks[0] - looks[1]) / 1000, lsof)
        self.floor.add(floor / 1000, lsof)
        self.row.count("us of the look for a descriptor", (looks[0] - looks[1]) / int(count))

    def finish(self, bench):
        on, off = [counts.of_command(bench, [bench.tool("audit"), ini, "200", "1"], True) for ini in self.inis]
        lsof = counts.of_command(bench, ["lsof", "-nP", "-p", str(self.holder.pid)], True)
        largest = 1000 if bench.quick else 10000
        self.row.four_counts(
            "a descriptor (of 200, of %d); memory of the whole process" % largest,
            counts.less(on, off, 200),
            counts.less(lsof, dict.fromkeys(lsof, 0), largest),
        )
        self.floor.four_counts("", {}, {}, all="no product: what row 8 is held against")
        self.holder.stdin.close()
        self.holder.wait()


class Doctor:
    """Row 9: `doctor` on a server of many processes, by processor time, which other work disturbs less."""

    def __init__(self):
        self.row = figures.Row(
            9,
            "doctor on 1,000 processes with 100 descriptors each, processor",
            "ms",
            0.05,
            "lsof -nP on the same pids",
        )
        self.floor = figures.Row(
            "9b", "its floor: one readlink a descriptor, by a C program of ten lines", "ms", None, "lsof -nP"
        )
        self.rows = [self.row, self.floor]
        self.tree = None

    def round(self, bench):
        if len(self.row.samples["ours"]) >= (1 if bench.quick else 5):
            return
        processes = 100 if bench.quick else 1000
        if not self.tree:
            self.tree = subprocess.Popen(
                [bench.tool("doctor_tree"), str(processes), "100"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self.pids = self.tree.stdout.readline().decode().split()
        self.commands = (
            [bench.build + "/runtime/forksafe-doctor", "--json", self.pids[0]],
            ["lsof", "-nP", "-p", ",".join(self.pids)],
            [bench.tool("floor"), *self.pids],
        )
        ours, theirs, floor = [processor_ms(command) for command in self.commands]
        self.row.add(ours, theirs)
        self.floor.add(floor, theirs)

    def finish(self, bench):
        ours, theirs, floor = [counts.of_command(bench, command, True) for command in self.commands]
        self.row.four_counts("the whole command", ours, theirs)
        self.floor.four_counts("the whole command", floor, theirs)
        self.tree.stdin.close()
        self.tree.wait()


class Json:
    """Row 10: the debug object of the largest journal."""

    def __init__(self):
        self.row = figures.Row(
            10,
            "debug JSON of a journal of 10,000 slots, processor",
            "ms",
            1.0,
            "python's json.dumps of the same objects",
        )
        self.rows = [self.row]
        self.journal = None

    def round(self, bench):
        if len(self.row.samples["ours"]) >= (1 if bench.quick else 5):
            return
        if not self.journal:
            slots = 1000 if bench.quick else 10000
            self.filler, self.journal = growth.fill(bench.build, bench.directory("json"), slots)
            self.dumps = subprocess.Popen(
                [sys.executable, HERE + "/json_peer.py", bench.build + "/runtime/forksafe", self.journal],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self.dumps.stdout.readline()
        ours = processor_ms([bench.build + "/runtime/forksafe", "debug", self.journal])
        self.dumps.stdin.write("\n")
        self.dumps.stdin.flush()
        self.row.add(ours, float(self.dumps.stdout.readline()))

    def finish(self, bench):
        peak = subprocess.check_output(
            [sys.executable, "-c", PEAK, bench.build + "/runtime/forksafe", "debug", self.journal]
        )
        self.row.count("MiB of memory at most", int(peak) / 1024, 64)
        filler, journal = growth.fill(bench.build, bench.directory("counted"), 100)
        command = [bench.build + "/runtime/forksafe", "debug", journal]
        peer = [sys.executable, HERE + "/json_peer.py", command[0], journal]
        once, twice = [counts.of_command(bench, peer, True, given=given) for given in (b"\n", b"\n\n")]
        self.row.four_counts(
            "the whole command, of 100 slots; json.dumps alone", counts.of_command(bench, command, True),
            counts.less(twice, once),
        )
        filler.stdin.close()
        filler.wait()
        for process in (self.dumps, self.filler):
            process.stdin.close()
            process.wait()
