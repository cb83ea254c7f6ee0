# SPDX-License-Identifier: MIT
"""The rows about one hook: in a fresh child, warm, from fork to exit, through preload, at the start, and growing."""
import figures
import growth
import servers
from bench import HERE, HOOK, elapsed_ms

SCRIPTS = 100  # of row 11


class HookInPython:
    """Rows 1 and 3: one CPython process has ours and pyramid_forksafe."""

    def __init__(self):
        self.child = figures.Row(1, "a hook in a fresh child of CPython", "us", 0.05, "pyramid_forksafe's notify")
        self.warm = figures.Row(3, "the same hook warm, in the master", "us", 0.5, "pyramid_forksafe's notify")
        self.rows = [self.child, self.warm]
        self.faults = []

    def round(self, bench):
        environment = {"PYTHONPATH": bench.site_packages}
        found = bench.run(
            "/usr/bin/python3",
            HERE + "/python_host.py",
            bench.build,
            bench.tool("emit_timed.so"),
            bench.ini,
            str(bench.forks),
            str(bench.emits // 10),
            environment=environment,
        )
        child, warm = found["child"], found["warm"]
        self.child.add(child["ours"][0], child["notify"][0])
        self.warm.add(warm["ours"], warm["notify"])
        self.faults.append(child["ours"][1])
        self.child.count("minor faults", sorted(self.faults)[len(self.faults) // 2], 8)
        self.child.count("of notify", child["notify"][1] - child["nothing"][1])
        self.child.count("us through ctypes, as gunicorn's adapter calls it", child["ours_by_ctypes"][0])
        for row in self.rows:
            bench.prove(row, bench.hooks_ran(found["journal"]), found["hooks"])

    def finish(self, bench):
        self.warm.count(
            "us of a bare lua_pcall", bench.run(bench.tool("lua_pcall"), HOOK, str(bench.emits))["microseconds"]
        )
        self.warm.count("system calls", system_calls(bench), 6)
        self.warm.count("instructions", instructions(bench))


def system_calls(bench):
    """Of one emit: what 100 more of them add."""
    counts = []
    for emits in (100, 200):
        report = bench.tool("strace")
        bench.run("strace", "-f", "-c", "-o", report, bench.forker, "warm", str(emits), bench.ini)
        with open(report, encoding="ascii") as file:
            counts.append([int(line.split()[3]) for line in file if line.rstrip().endswith(" total")][0])
    return (counts[1] - counts[0]) / 100


def instructions(bench):
    """Of one emit, by callgrind: what 1,000 more of them add."""
    counts = []
    for emits in (1000, 2000):
        done = bench.run(
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            bench.forker,
            "warm",
            str(emits),
            bench.ini,
            answer=False,
        )
        counts.append(
            [int(line.split()[-1]) for line in done.stderr.decode().splitlines() if "Collected :" in line][0]
        )
    return (counts[1] - counts[0]) / 1000


class ForkToExit:
    """Row 2: a small C program that forks."""

    def __init__(self):
        self.off = figures.Row(2, "fork to exit of a C program, one hook, audit off", "us", 1.25, "the bare fork")
        self.on = figures.Row("2b", "the same, audit on", "us", None, "the bare fork")
        self.rows = [self.off, self.on]

    def round(self, bench):
        bare = bench.run(bench.forker, "bare", str(bench.forks))["microseconds"]
        handler = bench.run(bench.forker, "handler", str(bench.forks))["microseconds"]
        for row, ini in ((self.off, bench.ini), (self.on, bench.ini_audit)):
            found = bench.run(bench.forker, "hook", str(bench.forks), ini)
            row.add(found["microseconds"], bare)
            bench.prove(row, bench.hooks_ran(found["journal"]), bench.forks)
        self.off.count("us with an empty pthread_atfork handler", handler)
        self.off.count(
            "us where forksafe is open and has no fork point",
            bench.run(bench.forker, "bare", str(bench.forks), bench.ini)["microseconds"],
        )

    def finish(self, bench):
        found = bench.run(bench.build + "/tests/fork_hook", bench.ini, str(bench.forks))
        self.off.count("minor faults of the hook in the child", found["hook"]["minor_faults"])
        self.off.count(
            "private dirty kB that it adds to the child",
            found["hook"]["private_dirty_kb"] - found["bare"]["private_dirty_kb"],
        )


class Preload:
    """Row 7: a program that knows nothing of forksafe, in time for a fork: the rate, turned over."""

    def __init__(self):
        self.row = figures.Row(7, "a fork through preload with one hook", "us", 1 / 0.8, "the same without preload")
        self.rows = [self.row]

    def forks(self, bench, count):
        command = [
            bench.build + "/runtime/forksafe",
            "run",
            bench.ini_quiet,
            "--",
            bench.tool("plain_forks"),
            str(count),
        ]
        return bench.run(*command)["microseconds"]

    def round(self, bench):
        count = bench.forks * 4
        bare = bench.run(bench.tool("plain_forks"), str(count))["microseconds"]
        self.row.add(self.forks(bench, count), bare)
        bench.prove(self.row, bench.hooks_of_server(), count - 1)

    def finish(self, bench):
        if not bench.quick:
            self.row.count("us a fork, of 100,000", self.forks(bench, 100000))
            self.row.count("of them without a hook", 100000 - bench.hooks_of_server())


class Open:
    """Row 11: a whole process that opens forksafe and ends."""

    def __init__(self):
        self.row = figures.Row(
            11, "start: ini, 100 scripts, VM; the whole process", "ms", 1.5, "luajit loading the same files"
        )
        self.rows = [self.row]

    def round(self, bench):
        directory = bench.directory("scripts")
        files = ["%s/%03d.lua" % (directory, number) for number in range(SCRIPTS)]
        for number, path in enumerate(files):
            with open(path, "w", encoding="utf-8") as file:
                file.write(growth.SCRIPT % number)
        ini = servers.write_ini(bench.directory("start"), directory)
        load = "forksafe = { subscribe = function() end } for i = 1, #arg do dofile(arg[i]) end"
        ours, theirs = [], []
        for _ in range(10):
            ours.append(elapsed_ms([bench.forker, "open", "0", ini]))
            theirs.append(elapsed_ms(["luajit", "-e", load, "/dev/null", *files]))
        self.row.add(min(ours), min(theirs))

    def finish(self, bench):
        ini = bench.directory("start") + "/info-audit-off.ini"
        self.row.count("ms in forksafe_open", bench.run(bench.forker, "open", "0", ini)["open_microseconds"] / 1000)


class Growth:
    """Row 12: what a hook costs as subscribers and workers become more."""

    def __init__(self):
        self.row = figures.Row(12, "growth from 1 to 1,000 subscribers, from 10 to 10,000 workers", "us")
        self.rows = [self.row]

    def round(self, bench):
        pass

    def finish(self, bench):
        growth.measure(bench, self.row)
