#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# The measuring and drawing part of scale.sh: scale.py BUILD SCRATCH SVG. Each figure is the median of interleaved rounds;
# processor time and the peak of resident memory are what the kernel reports of the ended process.
import os
import statistics
import subprocess
import sys
import time
from math import log10

SIZES = [10, 100, 1000, 10000]
ROUNDS = 7
COMMANDS = {  # how it is called, colour in the plot
    "debug": (["debug"], "#2a6fdb"),
    "ps": (["ps"], "#c2410c"),
    "debug --metrics": (["debug", "--metrics"], "#15803d"),
}
GOALS = {"debug": (2.0, 64.0), "ps": (0.5, None)}  # seconds and MiB at the largest


def fill(build, scratch, size):
    """A full journal whose master lives until the returned process's standard input is closed; its path."""
    directory = f"{scratch}/{size}"
    scripts = f"{directory}/hooks"
    os.makedirs(scripts)
    os.makedirs(f"{directory}/run", mode=0o700)
    for number in range(1, size + 1):
        with open(f"{scripts}/{number:05d}.lua", "w", encoding="utf-8") as file:
            file.write(f"return function(event) end -- {number}\n")
    with open(f"{directory}/app.ini", "w", encoding="utf-8") as file:
        file.write(f"[forksafe]\nruntime_dir = {directory}/run\nmax_workers = {size}\nrecords = 32\n[settings]\n")
    process = subprocess.Popen(
        [f"{build}/tests/fill_journal", f"{directory}/app.ini", str(size), scripts, str(size // 10)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    path = process.stdout.readline().strip()
    if not path:
        sys.exit("scale.py: fill_journal did not fill a journal")
    return process, path


def measure(argv):
    """Seconds, peak MiB and seconds of processor time of one run, its output thrown away."""
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        os.execv(argv[0], argv)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - begun
    if status:
        sys.exit(f"scale.py: {' '.join(argv)} ended with status {status}")
    return seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def figures(build, scratch):
    results = {name: [] for name in COMMANDS}
    for size in SIZES:
        process, path = fill(build, scratch, size)
        rounds = [{name: measure([f"{build}/runtime/forksafe", *argv, path]) for name, (argv, _) in COMMANDS.items()}
                  for _ in range(ROUNDS)]
        process.stdin.close()
        process.wait()
        for name in COMMANDS:
            results[name].append(tuple(statistics.median(one[name][i] for one in rounds) for i in (0, 1, 2)))
    return results


def print_table(results):
    print("| slots, subscribers | records | " + " | ".join(f"`{name}`" for name in COMMANDS) + " |")
    print("| --- " * (len(COMMANDS) + 2) + "|")
    for i, size in enumerate(SIZES):
        cells = [f"{seconds * 1000:,.0f} ms ({cpu * 1000:,.0f}), {memory:.1f} MiB"
                 for seconds, memory, cpu in (results[name][i] for name in COMMANDS)]
        print(f"| {size:,} | {size * 32:,} | " + " | ".join(cells) + " |")
    for name, (seconds, memory) in GOALS.items():
        got = results[name][-1]
        met = got[0] <= seconds and (memory is None or got[1] <= memory)
        print(f"goal for {name}: {seconds} s" + (f", {memory:.0f} MiB" if memory else "") + f": {'met' if met else 'MISSED'}")


class Panel:
    """One plot with both axes logarithmic."""

    def __init__(self, left, title, low, high, unit, sizes=None, of="slots, each with 32 records"):
        self.left, self.title, self.low, self.high, self.unit = left, title, low, high, unit
        self.sizes, self.of = sizes or SIZES, of
        self.parts, self.names = [], []

    def x(self, size):
        return self.left + 60 + self.sizes.index(size) * 85

    def y(self, value):
        return 250 - 200 * (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))

    def text(self, x, y, words, anchor="middle", colour="#666", weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{words}</text>')

    def axes(self, ticks):
        self.text(self.left + 60, 28, self.title, "start", weight="bold")
        for value in ticks:
            y = self.y(value)
            self.parts.append(f'<line x1="{self.x(self.sizes[0])}" x2="{self.x(self.sizes[-1])}" y1="{y:.1f}" y2="{y:.1f}" stroke="#888" stroke-opacity=".3"/>')
            self.text(self.x(self.sizes[0]) - 10, y + 4, f"{value:g} {self.unit}", "end")
        for size in self.sizes:
            self.text(self.x(size), 272, f"{size:,}")
        self.text((self.x(self.sizes[0]) + self.x(self.sizes[-1])) / 2, 292, self.of)

    def goal(self, value, words):
        y = self.y(value)
        self.parts.append(f'<line x1="{self.x(self.sizes[0])}" x2="{self.x(self.sizes[-1])}" y1="{y:.1f}" y2="{y:.1f}" stroke="#666" stroke-dasharray="4 4"/>')
        self.text(self.x(self.sizes[0]) + 4, y - 5, words, "start")

    def curve(self, name, colour, values):
        points = [(self.x(size), self.y(value)) for size, value in zip(self.sizes, values)]
        self.parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in points:
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
        self.names.append((points[-1][1], name, colour))

    def legend(self):
        """The curves' names at their ends, one below the other where they would meet."""
        last = 0
        for y, name, colour in sorted(self.names):
            last = max(y + 4, last + 14)
            self.text(self.x(self.sizes[-1]) + 8, last, name, "start", colour)


def draw(results, path):
    seconds, memory = Panel(20, "Time to the end", 0.001, 10, "s"), Panel(490, "Peak memory", 1, 100, "MiB")
    seconds.axes([0.001, 0.01, 0.1, 1, 10])
    memory.axes([1, 10, 100])
    seconds.goal(2, "goal of debug: 2 s")
    memory.goal(64, "goal of debug: 64 MiB")
    for name, (_, colour) in COMMANDS.items():
        seconds.curve(name, colour, [one[0] for one in results[name]])
        memory.curve(name, colour, [one[1] for one in results[name]])
    write_svg([seconds, memory], path)


def write_svg(panels, path):
    """Two panels side by side, each with its curves' names."""
    for panel in panels:
        panel.legend()
    with open(path, "w", encoding="utf-8") as file:
        file.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 305" font-family="sans-serif" font-size="12">\n')
        file.write("<!-- drawn by tests/bench: both axes are logarithmic, a straight line at 45 degrees would be linear growth -->\n")
        file.write('<rect width="960" height="305" fill="#fff"/>\n')
        file.write("\n".join(part for panel in panels for part in panel.parts) + "\n</svg>\n")


def main():
    build, scratch, path = sys.argv[1:]
    results = figures(build, scratch)
    print_table(results)
    draw(results, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
