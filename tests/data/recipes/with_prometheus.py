# SPDX-License-Identifier: MIT
"""A gauge of living workers, in prometheus_client's multiprocess mode."""
import os

from prometheus_client import CollectorRegistry, Gauge, generate_latest, multiprocess

gauge = Gauge("busy", "Requests in work.", multiprocess_mode="livesum")


def in_worker():
    gauge.inc()


def in_master():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    text = generate_latest(registry).decode()
    print("files", len(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])), flush=True)
    print("sum", [line for line in text.splitlines() if line.startswith("busy ")], flush=True)
