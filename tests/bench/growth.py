# SPDX-License-Identifier: MIT
"""How a hook grows: with the number of subscribers, and with the number of workers that are there already. And the
plot of both.
"""
import json
import subprocess

import counts
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


def write_scripts(bench, count):
    hooks = bench.directory("growth-%d/hooks" % count)
    for number in range(count):
        with open("%s/%04d.lua" % (hooks, number), "w", encoding="utf-8") as file:
            file.write(SCRIPT % number)
    return hooks


def of_subscribers(bench, count):
    """Microseconds of one warm firing, and of forksafe_open, with so many scripts of one subscriber each."""
    ini = servers.write_ini(bench.directory("growth-%d" % count), write_scripts(bench, count))
    found = bench.run(bench.forker, "warm", str(max(20, 20000 // count)), ini)
    return found["microseconds"], found["open_microseconds"]


def counted(bench, count):
    """Subscribers of which the journal has counted a run, in a firing of so many."""
    directory = bench.directory("growth-%d" % count)
    found = bench.run(bench.forker, "warm", "20", servers.write_ini(directory, write_scripts(bench, count)))
    return bench.subscribers_that_ran(found["journal"])


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
    row.count("of 1,000 subscribers, in the journal's counters", counted(bench, SUBSCRIBERS[-1]))
    ini = servers.write_ini(bench.directory("growth-100"), write_scripts(bench, 100))
    warm = [counts.of_command(bench, [bench.forker, "warm", str(emits), ini], True) for emits in (100, 200)]
    row.four_counts("a warm firing of 100 subscribers; memory of the whole process", counts.less(*warm[::-1], 100))
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
