# SPDX-License-Identifier: MIT
"""The rows about whole servers: memory of a worker, and from start to ready."""
import counts
import figures
import servers

NO_INSTRUCTIONS = "valgrind's own start of a server is most of what it would count"


def counted(bench, start, arms, workers, requests=0):
    """Counts of the last worker of a server of each arm, from its fork to its end."""
    found = []
    for arm in arms:
        server = start(bench, arm, workers, counts.wrapped(bench, []))
        if requests:
            servers.pids_of(server, requests)
        server.end()
        found.append(counts.taken(bench))
    return found


class Memory:
    """Row 4: one worker of each container after 1,000 requests."""

    def __init__(self):
        self.arms = {}
        self.rows = []
        for name, start, peer, beside in (
            ("nginx", servers.nginx, "lua", "lua-nginx-module with one init_worker hook"),
            ("uWSGI", servers.uwsgi, "theirs", "pyramid_forksafe on the same uWSGI"),
            ("gunicorn", servers.gunicorn, "theirs", "pyramid_forksafe on the same gunicorn"),
        ):
            row = figures.Row("4", "private memory of a worker of %s after 1,000 requests" % name, "kB", None, beside)
            self.arms[name] = (row, start, peer)
            self.rows.append(row)

    def round(self, bench):
        if len(self.rows[0].samples["ours"]) >= 3:
            return
        for row, start, peer in self.arms.values():
            kilobytes = {}
            for arm in ("plain", "ours", peer):
                server = start(bench, arm, 1)
                kilobytes[arm] = servers.memory_after(server, 200 if bench.quick else 1000)
                if arm == "ours":
                    bench.prove(row, bench.hooks_of_server(), 1)
                server.end()
            row.add(kilobytes["ours"], kilobytes[peer], kilobytes["plain"])

    def finish(self, bench):
        requests = 200 if bench.quick else 1000
        for row, start, peer in self.arms.values():
            row.count("kB that forksafe adds", row.median("ours") - row.median("plain"), 96)
            found = counted(bench, start, ("ours", peer), 1, requests)
            what = "the worker, from fork to end, with its %d requests" % requests
            row.four_counts(what, *found, instructions="those of the requests, in which nothing of either runs")


class Start:
    """Rows 5 and 6: from start to all workers ready. Other work on the machine disturbs the processor's time less, and
    the faults not at all; both are of the server's whole life.
    """

    def __init__(self, number, what, start, peer, beside, workers, goal):
        self.row = figures.Row(number, what, "ms", goal, beside)
        self.processor = figures.Row(
            str(number) + "b", "the same, processor time from start to end", "ms", None, beside
        )
        self.faults = figures.Row(str(number) + "c", "the same, minor faults of all its processes", "", goal, beside)
        self.start, self.peer, self.workers = start, peer, workers
        self.rows = [self.row, self.processor, self.faults]

    def round(self, bench):
        milliseconds, processor, faults = {}, {}, {}
        for arm in ("plain", "ours", self.peer):
            server = self.start(bench, arm, self.workers)
            milliseconds[arm] = server.started * 1000
            if arm == "ours":
                bench.prove(self.row, bench.hooks_of_server(), self.workers)
            seconds, faults[arm] = server.end()
            processor[arm] = seconds * 1000
        self.row.add(milliseconds["ours"], milliseconds[self.peer], milliseconds["plain"])
        self.processor.add(processor["ours"], processor[self.peer], processor["plain"])
        self.faults.add(faults["ours"], faults[self.peer], faults["plain"])

    def finish(self, bench):
        found = counted(bench, self.start, ("ours", self.peer), 8)
        for row in self.rows:
            row.four_counts("the last worker of 8, from fork to end", *found, instructions=NO_INSTRUCTIONS)
            row.count((row.unit or "faults") + " that forksafe adds", row.median("ours") - row.median("plain"))
            row.count((row.unit or "faults") + " that the peer adds", row.median("peer") - row.median("plain"))
