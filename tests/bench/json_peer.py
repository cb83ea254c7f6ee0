#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Row 10's peer: json_peer.py FORKSAFE JOURNAL reads the debug object once, and for each line on its standard input
# prints the milliseconds of processor that json.dumps of it took.
import gc
import json
import subprocess
import sys
import time

found = json.loads(subprocess.run([sys.argv[1], "debug", sys.argv[2]], stdout=subprocess.PIPE, check=True).stdout)
gc.freeze()
print("ready", flush=True)
for _ in sys.stdin:
    begun = time.process_time()
    json.dumps(found)
    print((time.process_time() - begun) * 1000, flush=True)
