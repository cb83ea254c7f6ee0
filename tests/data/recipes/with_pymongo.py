# SPDX-License-Identifier: MIT
"""A client of a MongoDB that nobody runs: its monitor threads look for it all the same."""
import warnings

import pymongo

client = pymongo.MongoClient("127.0.0.1", 9, serverSelectionTimeoutMS=100)
topology = client._topology


def in_worker():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            client.admin.command("ping")
        except pymongo.errors.ServerSelectionTimeoutError:
            pass
    print("worker", "same" if client._topology is topology else "new", "topology,", len(caught), "warnings", flush=True)


def in_master():
    print("master", "same" if client._topology is topology else "new", "topology", flush=True)
