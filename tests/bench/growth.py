# SPDX-License-Identifier: MIT
"""How a hook grows: with the number of subscribers, and with the number of workers that are there already. And the
plot of both.
"""
import json
import os
import subprocess

import scale
import servers

SUBSCRIBERS = [1, 10, 100, 1000]
WORKERS = [10, 100, 1000, 10000]
SCRIPT = """local threshold = %d
local function check(event)
  local settings = event.registry.settings
  return settings["db.host"] and threshold > 0
end
forksafe.subscribe("ApplicationPostFork", check, { order = 50 })
"""
fill = scale.fill


def of_subscribers(bench, count):
    """Microseconds of one warm firing, and of forksafe_open, with so many scripts of one subscriber each."""
    directory = bench.directory("growth-%d" % count)
    os.makedirs(directory + "/hooks", exist_ok=True)
    for number in range(count):
        with open("%s/hooks/%04d.lua" % (directory, number), "w", encoding="utf-8") as file:
            file.write(SCRIPT % number)
    found = bench.run(
        bench.forker, "warm", str(max(20, 20000 // count)), servers.write_ini(directory, directory + "/hooks")
    )
    return found["microseconds"], found["open_microseconds"]


def of_workers(bench, largest):
    """Pairs of a number of living workers and the microseconds of the hook in the last ones forked."""
    ini = bench.scratch + "/crowd.ini"
    with open(bench.ini, encoding="utf-8") as file, open(ini, "w", encoding="utf-8") as copy:
        copy.write(file.read() + "forksafe.max_workers = %d\n" % (largest + 10))
    done = subprocess.run([bench.forker, "crowd", str(largest), ini], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["crowd"]


def measure(bench, row):
    """Fills the row with counts, and draws the plot."""
    subscribers = {count: of_subscribers(bench, count) for count in (SUBSCRIBERS[:3] if bench.quick else SUBSCRIBERS)}
    workers = of_workers(bench, 1000 if bench.quick else WORKERS[-1])
    for count, (warm, opened) in subscribers.items():
        row.count("us of a warm firing with %d subscribers" % count, warm)
        row.count("ms of forksafe_open with them", opened / 1000)
    for count, took in workers:
        row.count("us of the hook in worker %d" % count, took)
    if not bench.quick:
        draw(subscribers, workers, bench.plot)


def draw(subscribers, workers, path):
    left = scale.Panel(
        20, "One firing, and forksafe_open", 0.1, 1e6, "us", SUBSCRIBERS, "subscribers, each in a script of its own"
    )
    right = scale.Panel(490, "The hook in a fresh child", 1, 1000, "us", WORKERS, "workers that live already")
    left.axes([1, 100, 10000, 1000000])
    right.axes([1, 10, 100, 1000])
    left.curve("a firing", "#2a6fdb", [subscribers[count][0] for count in SUBSCRIBERS])
    left.curve("open", "#c2410c", [subscribers[count][1] for count in SUBSCRIBERS])
    right.curve("the hook", "#2a6fdb", [took for _, took in workers])
    scale.write_svg([left, right], path)
