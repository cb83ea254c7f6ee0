# SPDX-License-Identifier: MIT
"""Producers made before the fork, in a variable, an attribute of an object and one of a class, a list and a closure; their broker is
librdkafka's own."""
import os

import confluent_kafka

CONFIGURATION = {"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0, "linger.ms": 7, "client.id": "shop"}
if "WITH_CALLBACK" in os.environ:
    CONFIGURATION["error_cb"] = print


class Sender(confluent_kafka.Producer):
    name = "a class of the application's"


class Application:
    shared = confluent_kafka.Producer(CONFIGURATION)

    def __init__(self):
        self.own = Sender(CONFIGURATION)
        self.own.label = "label"


def make_closure():
    hidden = confluent_kafka.Producer(CONFIGURATION)
    return lambda: hidden


producer = confluent_kafka.Producer(CONFIGURATION)
application = Application()
several = [confluent_kafka.Producer(CONFIGURATION)]
closure = make_closure()


def all_of_them():
    return [producer, application.own, Application.shared, several[0], closure()]


before = [id(one) for one in all_of_them()]


def in_worker():
    left = []
    for one in all_of_them():
        one.produce("topic", b"text")
        left.append(one.flush(5))
    changed = sum(id(one) not in before for one in all_of_them())
    print("worker", changed, "new,", sum(left), "stuck,", getattr(application.own, "label", None), flush=True)
