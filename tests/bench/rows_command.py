# SPDX-License-Identifier: MIT
"""The rows about what looks at a server: the audit, `doctor` and `debug`."""
import os
import subprocess
import sys

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
        self.rows = [self.row]
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
        looks = [
            float(bench.run(bench.tool("audit"), ini, count, "5", answer=False).stdout.split()[0]) for ini in inis
        ]
        self.row.add((looks[0] - looks[1]) / 1000, processor_ms(["lsof", "-nP", "-p", str(self.holder.pid)]))
        self.row.count("us of the look for a descriptor", (looks[0] - looks[1]) / int(count))

    def finish(self, bench):
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
        self.rows = [self.row]
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
        ours = processor_ms([bench.build + "/runtime/forksafe-doctor", "--json", self.pids[0]])
        theirs = processor_ms(["lsof", "-nP", "-p", ",".join(self.pids)])
        self.row.add(ours, theirs)

    def finish(self, bench):
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
        for process in (self.dumps, self.filler):
            process.stdin.close()
            process.wait()
