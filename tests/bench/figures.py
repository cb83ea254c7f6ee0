# SPDX-License-Identifier: MIT
"""Rows of figures and what may be said of them: medians of ratios within rounds, a bootstrap interval, and a verdict.

A row compares ours with a peer. Where both add to the same plain program, the ratio is of what they add.
"""
import json
import random
import statistics

import counts

RESAMPLES = 2000
SEED = 7  # the same figures give the same interval


class Row:
    """One line of the table. `goal` is the largest ratio that is good, None where a count or nothing is asked."""

    def __init__(self, number, what, unit, goal=None, peer=""):
        self.number, self.what, self.unit, self.goal, self.peer = number, what, unit, goal, peer
        self.samples = {"ours": [], "peer": [], "plain": []}
        self.counts = {}  # name: (value, largest that is good or None)
        self.four = {"ours": {}, "peer": {}}  # what counts.py has counted
        self.of_what = ""  # what the four are of
        self.missing = {}  # one of the four: why it means nothing here
        self.proved = None  # hooks that ran, by the journal's counters; None where nothing runs
        self.problem = None

    def add(self, ours, peer=None, plain=None):
        for name, value in (("ours", ours), ("peer", peer), ("plain", plain)):
            if value is not None:
                self.samples[name].append(value)

    def count(self, name, value, most=None):
        self.counts[name] = (value, most)

    def four_counts(self, of_what, ours, peer=None, **missing):
        self.of_what, self.four, self.missing = of_what, {"ours": ours, "peer": peer or {}}, missing

    def four_cells(self):
        cells = [str(self.number), self.of_what]
        for key in counts.KEYS:
            known = key.replace(" ", "_") not in self.missing
            both = [self.four[arm].get(key) if known else None for arm in ("ours", "peer")]
            cells.append(" / ".join("-" if one is None else plain_number(one) for one in both))
        return cells

    def reasons(self):
        reasons = ["%s: %s" % (key.replace("_", " "), why) for key, why in self.missing.items()]
        if self.peer == "" and not self.missing:
            reasons.append("there is no peer")
        return "; ".join(reasons)

    def median(self, name):
        return statistics.median(self.samples[name]) if self.samples[name] else None

    def ratios(self):
        rows = zip(
            self.samples["ours"], self.samples["peer"], self.samples["plain"] or [0.0] * len(self.samples["peer"])
        )
        return [(ours - plain) / (peer - plain) for ours, peer, plain in rows if peer > plain]

    def interval(self):
        """The median of the ratios and a 95 % bootstrap interval of it; None where there is nothing to compare."""
        ratios = self.ratios()
        if not ratios:
            return None
        chance = random.Random(SEED)
        medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
        return statistics.median(ratios), medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)]

    def verdict(self):
        """'met' only where the interval lies below the goal, and every count that has a limit within it."""
        if self.problem:
            return "not run: " + self.problem
        if self.proved is False:
            return "NO HOOK RAN"
        missed = [name for name, (value, most) in self.counts.items() if most is not None and value > most]
        interval = self.interval() if self.goal is not None else None
        if interval and len(self.ratios()) < len(self.samples["ours"]):
            return "not measurable"  # in some rounds the peer added nothing
        if interval and interval[1] > self.goal:
            return "missed"
        if missed:
            return "missed (%s)" % ", ".join(missed)
        if interval and interval[2] >= self.goal:
            return "not measurable"
        return "met" if interval or any(most is not None for _, most in self.counts.values()) else "no goal"

    def cells(self):
        interval = self.interval()
        spread = "%.3f to %.3f" % interval[1:] if interval else ""
        ratio = "%.3f" % interval[0] if interval else ""
        goal = "%g" % self.goal if self.goal is not None else ""
        return [
            str(self.number),
            self.what,
            self.amount("ours"),
            self.amount("peer"),
            self.amount("plain"),
            ratio,
            spread,
            goal,
            self.verdict(),
        ]

    def amount(self, name):
        value = self.median(name)
        return "" if value is None else "%s %s" % (plain_number(value), self.unit)

    def notes(self):
        return [
            name + " " + plain_number(value) + (" (at most %s)" % plain_number(most) if most is not None else "")
            for name, (value, most) in self.counts.items()
        ]

    def as_json(self):
        return {
            "row": self.number,
            "what": self.what,
            "unit": self.unit,
            "peer": self.peer,
            "goal": self.goal,
            "samples": self.samples,
            "ratio": self.interval(),
            "counts": self.counts,
            "four": {**self.four, "of": self.of_what, "missing": self.missing},
            "hooks_ran": self.proved,
            "verdict": self.verdict(),
        }


def plain_number(value):
    if isinstance(value, str):
        return value
    return "%.2f" % value if abs(value) < 10 and value != int(value) else "{:,.0f}".format(value)


HEADER = ["#", "what", "ours", "peer", "without either", "ratio", "95 %", "goal", ""]


def table(rows):
    """The rows as a Markdown table, and below it the counts."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    lines.append("")
    lines += [
        "%s, beside %s: %s" % (row.number, row.peer or "nothing", "; ".join(row.notes())) for row in rows if row.counts
    ]
    return "\n".join(lines)


FOUR_HEADER = ["#", "of", *counts.KEYS, "a dash, because"]


def four_table(rows):
    """The four counts of every row, ours / the peer's, as a Markdown table."""
    lines = ["| " + " | ".join(FOUR_HEADER) + " |", "|" + " --- |" * len(FOUR_HEADER)]
    return "\n".join(lines + ["| " + " | ".join([*row.four_cells(), row.reasons()]) + " |" for row in rows])


def write(rows, machine, path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"machine": machine, "rows": [row.as_json() for row in rows]}, file, indent=1)
        file.write("\n")
