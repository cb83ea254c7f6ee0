#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Where the microseconds of a hook in a fresh child go, drawn: where.py INI WHERE.svg NAME=BUILD... For each build
# tests/fork_hook runs by itself, for the total, and once under `perf record -e minor-faults`, whose times give each
# kind of page its share: a fault costs what passes until the next one, and all of them what the total is above the warm
# hook. Needs linux-perf, and runs as root.
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 200
KINDS = [  # name, colour, what the page's map is called; the first that matches
    ("pages copied: the VM's", "#2a6fdb", r"\(//anon\)$"),
    ("pages copied: data, stack, heap", "#7aa7ec", r"^(data|heap|stack)"),
    ("LuaJIT's text", "#c2410c", r"libluajit"),
    ("libforksafe's text", "#f08c5a", r"libforksafe"),
    ("libc's text", "#a16207", r"libc\.so|ld-linux|vdso"),
    ("the journal", "#15803d", r"journal"),
]
REST = ("no fault: the hook warm, cold caches", "#94a3b8")
LINE = re.compile(r"\s*(\d+)\s+(\d+\.\d+):\s+([0-9a-f]+)\s+(\S+)\s+\((.+?)\)\s+([0-9a-f]+)\s+(\S+)\s+\((.+?)\)")


def total(build, ini):
    """Median microseconds and faults of the hook, and microseconds of the program's own for nothing."""
    runs = [
        json.loads(subprocess.run([build + "/tests/fork_hook", ini, "500"], stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(5)
    ]
    return statistics.median(run["hook"]["microseconds"] for run in runs), statistics.median(
        run["hook"]["minor_faults"] for run in runs
    )


def kind_of(address, name, symbol):
    """Which of KINDS a fault is, by its map; data of libraries and the heap are anonymous to perf as well."""
    if name == "//anon" or name.startswith("["):
        return KINDS[0][0] if name == "//anon" and is_arena(address) else KINDS[1][0]
    if symbol in ("owner+0x0", "first+0x0") or (symbol.startswith("_rtld") and "libc" not in name):
        return KINDS[1][0]
    return next((kind for kind, _, pattern in KINDS[2:] if re.search(pattern, name)), KINDS[1][0])


arena = [0, 0]


def is_arena(address):
    return arena[0] <= address < arena[1]


def faults(build, ini):
    """For each child that ran the hook: its faults in order, as (seconds, address, symbol, map)."""
    with tempfile.NamedTemporaryFile() as data:
        subprocess.run(
            [
                "perf",
                "record",
                "-q",
                "-e",
                "minor-faults",
                "-c",
                "1",
                "-d",
                "-o",
                data.name,
                build + "/tests/fork_hook",
                ini,
                str(ROUNDS),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        text = subprocess.run(
            ["perf", "script", "-i", data.name, "-F", "pid,time,addr,ip,sym,symoff,dso"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        ).stdout.decode()
    children = collections.defaultdict(list)
    for line in text.splitlines():
        found = LINE.match(line)
        if found:
            pid, seconds, address, symbol, name, _, code, library = found.groups()
            children[int(pid)].append((float(seconds), int(address, 16), symbol, name, code, library))
    for pid, events in children.items():
        begin = next(
            (
                i
                for i, one in enumerate(events)
                if one[2].startswith("forksafe_emit") or one[4].startswith("forksafe_emit")
            ),
            None,
        )
        end = next(
            (i for i, one in enumerate(events) if begin is not None and i > begin and one[4].startswith("main")), None
        )
        if end is not None and end - begin > 8:
            yield events[begin : end + 1]


def shares(build, ini):
    """Mean number of faults and mean seconds of each kind in one child."""
    counts, seconds, children = collections.Counter(), collections.Counter(), 0
    for events in faults(build, ini):
        children += 1
        place = next(
            (one[1] for one in events if one[3] == "//anon" and "luajit" in one[5]), 0
        )  # LuaJIT writes to its own only
        arena[0], arena[1] = place - (2 << 20), place + (48 << 20)
        for one, following in zip(events, events[1:]):
            kind = kind_of(one[1], one[3], one[2])
            counts[kind] += 1
            seconds[kind] += following[0] - one[0]
    return {kind: (counts[kind] / children, seconds[kind] / children) for kind in counts}


def bar(build, ini, warm):
    """Pairs of a kind and its microseconds, scaled so that all of them and the rest are the total."""
    microseconds, number = total(build, ini)
    found = shares(build, ini)
    scale = (microseconds - warm) / sum(seconds for _, seconds in found.values())
    parts = [(kind, colour, found[kind][0], found[kind][1] * scale) for kind, colour, _ in KINDS if kind in found]
    return microseconds, number, parts + [(*REST, 0, warm)]


def draw(bars, path):
    longest = max(one[1] for one in bars)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 %d" font-family="sans-serif" font-size="12">'
        % (90 + 70 * len(bars)),
        "<!-- drawn by tests/bench/where.py -->",
        '<rect width="960" height="100%" fill="#fff"/>',
        '<text x="20" y="24" font-weight="bold" fill="#333">'
        "One hook in a fresh child: where the microseconds go</text>",
    ]
    for row, (name, microseconds, number, parts) in enumerate(bars):
        x, y = 20.0, 48 + 70 * row
        lines.append(
            '<text x="20" y="%d" fill="#333">%s: %.0f us, %.0f minor faults</text>' % (y, name, microseconds, number)
        )
        for kind, colour, count, took in parts:
            width = took / longest * 900
            lines.append(
                '<rect x="%.1f" y="%d" width="%.1f" height="28" fill="%s"><title>%s: %.1f us</title></rect>'
                % (x, y + 8, width, colour, kind, took)
            )
            if width > 22:
                label = "%.0f" % count if count else ""
                lines.append(
                    '<text x="%.1f" y="%d" text-anchor="middle" fill="#fff">%s</text>' % (x + width / 2, y + 26, label)
                )
            x += width
    y = 58 + 70 * len(bars)
    for index, (kind, colour) in enumerate([(kind, colour) for kind, colour, _ in KINDS] + [REST]):
        x = 20 + index % 4 * 235
        lines.append(
            '<rect x="%d" y="%d" width="11" height="11" fill="%s"/><text x="%d" y="%d" fill="#666">%s</text>'
            % (x, y + index // 4 * 18 - 10, colour, x + 16, y + index // 4 * 18, kind)
        )
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n</svg>\n")


def main():
    ini, path = sys.argv[1:3]
    bars = []
    forker = next(
        path
        for path in (one.split("=", 1)[1] + "/tests/forker" for one in reversed(sys.argv[3:]))
        if os.path.exists(path)
    )
    warm = min(
        json.loads(subprocess.run([forker, "warm", "20000", ini], stdout=subprocess.PIPE, check=True).stdout)[
            "microseconds"
        ]
        for _ in range(5)
    )
    for argument in sys.argv[3:]:
        name, build = argument.split("=", 1)
        microseconds, number, parts = bar(build, ini, warm)
        bars.append((name, microseconds, number, parts))
        print("%s: %.1f us, %.0f faults" % (name, microseconds, number))
        for kind, _, count, took in parts:
            print("  %-40s %5.1f faults %6.1f us" % (kind, count, took))
    draw(bars, path)


main()
