# SPDX-License-Identifier: MIT
"""The rows about one hook: in a fresh child, warm, from fork to exit, through preload, at the start, and growing."""
import statistics

import counts
import figures
import growth
import servers
from bench import HERE, HOOK, elapsed_ms

SCRIPTS = 100  # of row 11
SHARED = 2  # windows of the journal that a child touches: its front, and the slot


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
        children = {arm: self.counted(bench, arm, 1, 0) for arm in ("ours", "nothing_in_c", "notify", "nothing")}
        self.child.four_counts(
            "the hook in the child; memory of the whole child",
            counts.less(children["ours"], children["nothing_in_c"]),
            counts.less(children["notify"], children["nothing"]),
        )
        # Where the maps lie changes the faults of a whole CPython: those around the hook, in all children, tell more.
        for arm, name in (("ours", "minor faults"), ("peer", "of notify")):
            self.child.four[arm]["minor faults"] = self.child.counts[name][0]
        ours = [counts.of_command(bench, [bench.forker, "warm", str(n), bench.ini], True) for n in (1000, 2000)]
        theirs = [self.counted(bench, "notify", 0, n) for n in (1000, 2000)]
        self.warm.four_counts(
            "one hook",
            counts.less(*ours[::-1], 1000),
            counts.less(*theirs[::-1], 1000),
            private_dirty_kB="nothing is forked, and a warm hook takes no memory",
        )
        self.warm.count("system calls", self.warm.four["ours"]["system calls"], 6)

    def counted(self, bench, arm, forks, emits):
        argv = [
            "/usr/bin/python3",
            HERE + "/python_host.py",
            bench.build,
            bench.tool("emit_timed.so"),
            bench.ini,
            str(forks),
            str(emits),
        ]
        environment = {"PYTHONPATH": bench.site_packages, "BENCH_ARM": arm, "PYTHONHASHSEED": "0"}
        return counts.of_command(bench, argv, not forks, environment)


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
        bare = counts.of_command(bench, [bench.forker, "bare", "2"])
        for row, ini in ((self.off, bench.ini), (self.on, bench.ini_audit)):
            hooked = counts.of_command(bench, [bench.forker, "hook", "2", ini])
            row.four_counts("the second child, from fork to exit", hooked, bare)
        found = bench.run(bench.build + "/tests/fork_hook", bench.ini, str(bench.forks))
        self.off.count("minor faults of the hook in the child", found["hook"]["minor_faults"])
        added = found["hook"]["private_dirty_kb"] - found["bare"]["private_dirty_kb"]
        self.off.count("private dirty kB that it adds to the child", added)
        self.floors(bench, int(added / 4), int(found["hook"]["minor_faults"] - added / 4 - SHARED))

    def floors(self, bench, copied, mapped):
        """What is left where our code is not: the ratio to the bare fork, and what happens in the child."""
        arms = {
            "LuaJIT merely in the program": ["open"],
            "the script by a bare lua_pcall": ["lua", HOOK],
            "as many pages touched, and nothing else": ["pages", str(copied), str(SHARED), str(mapped)],
        }
        runs = {name: [] for name in arms}
        for _ in range(bench.rounds):
            bare = bench.run(bench.tool("fork_floor"), str(bench.forks), "bare")
            for name, arguments in arms.items():
                found = bench.run(bench.tool("fork_floor"), str(bench.forks), *arguments)
                ratio = found["microseconds"] / bare["microseconds"]
                runs[name].append((ratio, found["child_microseconds"], found["minor_faults"] - bare["minor_faults"]))
        for name, found in runs.items():
            ratio, microseconds, faults = (statistics.median(column) for column in zip(*found))
            self.off.count("floor, %s: times the bare fork" % name, ratio)
            self.off.count("floor, %s: us in the child" % name, microseconds)
            self.off.count("floor, %s: minor faults there" % name, faults)


class Preload:
    """Row 7: a program that knows nothing of forksafe, in time for a fork: the rate, turned over."""

    def __init__(self):
        self.row = figures.Row(7, "a fork through preload with one hook", "us", 1 / 0.8, "the same without preload")
        self.rows = [self.row]

    def command(self, bench):
        return [bench.build + "/runtime/forksafe", "run", bench.ini_quiet, "--", bench.tool("plain_forks")]

    def forks(self, bench, count):
        return bench.run(*self.command(bench), str(count))["microseconds"]

    def round(self, bench):
        count = bench.forks * 4
        bare = bench.run(bench.tool("plain_forks"), str(count))["microseconds"]
        self.row.add(self.forks(bench, count), bare)
        bench.prove(self.row, bench.hooks_of_server(), count - 1)

    def finish(self, bench):
        self.row.four_counts(
            "the second child, from fork to exit",
            counts.of_command(bench, [*self.command(bench), "2"]),
            counts.of_command(bench, [bench.tool("plain_forks"), "2"]),
        )
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
        self.commands = [bench.forker, "open", "0", ini], ["luajit", "-e", load, "/dev/null", *files]
        ours, theirs = [], []
        for _ in range(10):
            for times, command in zip((ours, theirs), self.commands):
                times.append(elapsed_ms(command))
        self.row.add(min(ours), min(theirs))

    def finish(self, bench):
        self.row.count("ms in forksafe_open", bench.run(*self.commands[0])["open_microseconds"] / 1000)
        ours, theirs = [counts.of_command(bench, command, True) for command in self.commands]
        self.row.four_counts("the whole process", ours, theirs)


class Growth:
    """Row 12: what a hook costs as subscribers and workers become more."""

    def __init__(self):
        self.row = figures.Row(12, "growth from 1 to 1,000 subscribers, from 10 to 10,000 workers", "us")
        self.rows = [self.row]

    def round(self, bench):
        pass

    def finish(self, bench):
        growth.measure(bench, self.row)
