# SPDX-License-Identifier: MIT
"""What all rows need: where things are, how much of everything is done, running a program on its core, and the proof
that hooks ran.

Processes under measurement are on core 0, this one on the last.
"""
import glob
import json
import os
import subprocess
import sys
import time

import servers

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HOOK = ROOT + "/examples/quickstart/hooks/postfork.lua"


class Bench:
    """Where things are, and how much of everything is done."""

    def __init__(self, arguments):
        self.build, self.scratch, self.site_packages = arguments.build, arguments.scratch, arguments.site_packages
        self.forker = self.build + "/tests/forker"
        self.quick, self.plot = arguments.quick, arguments.plot
        self.rounds = 3 if self.quick else 7
        self.forks = 200 if self.quick else 500
        self.emits = 20000 if self.quick else 50000
        os.makedirs(self.scratch + "/hooks", exist_ok=True)
        with open(HOOK, encoding="utf-8") as file, open(
            self.scratch + "/hooks/postfork.lua", "w", encoding="utf-8"
        ) as copy:
            copy.write(file.read())
        self.ini = servers.write_ini(self.scratch, self.scratch + "/hooks")
        self.ini_quiet = servers.write_ini(self.scratch, self.scratch + "/hooks", level="warning")
        self.ini_audit = servers.write_ini(self.scratch, self.scratch + "/hooks", "on")

    def directory(self, name):
        path = "%s/%s" % (self.scratch, name)
        os.makedirs(path, exist_ok=True)
        return path

    def tool(self, name):
        return self.scratch + "/" + name

    def run(self, *argv, environment=None, answer=True):
        """Runs a program on core 0 to its end; its JSON."""
        done = subprocess.run(
            ["taskset", "-c", servers.SERVERS_CORE, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            env={**os.environ, **(environment or {})},
        )
        if done.returncode:
            sys.exit(
                "tests/bench: %s ended with status %d: %s"
                % (" ".join(argv), done.returncode, done.stderr.decode()[-500:])
            )
        return json.loads(done.stdout) if answer else done

    def subscribers(self, journal):
        done = subprocess.run([self.build + "/runtime/forksafe", "debug", journal], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)["subscribers"]

    def subscribers_that_ran(self, journal):
        return sum(one["outcomes"]["ok"] > 0 for one in self.subscribers(journal))

    def hooks_ran(self, journal):
        """Runs of the hook that ended well, by the journal's counters."""
        return sum(one["outcomes"]["ok"] for one in self.subscribers(journal))

    def hooks_of_server(self):
        """The same of the newest journal of the servers' ini."""
        journals = glob.glob(self.scratch + "/run/*/*.journal")
        return self.hooks_ran(max(journals, key=os.path.getmtime)) if journals else 0

    def prove(self, row, ran, expected):
        row.proved = (row.proved is not False) and ran >= expected


def processor_ms(argv):
    pid = os.fork()
    if not pid:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.execvp(argv[0], argv)
    usage = os.wait4(pid, 0)[2]
    return (usage.ru_utime + usage.ru_stime) * 1000


def elapsed_ms(argv):
    begun = time.monotonic()
    subprocess.run(
        ["taskset", "-c", servers.SERVERS_CORE, *argv],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return (time.monotonic() - begun) * 1000
