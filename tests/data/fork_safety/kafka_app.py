# SPDX-License-Identifier: MIT
"""A producer made while the application is imported: its threads stay behind in the master (scenario 4)."""
import confluent_kafka


def make_producer():
    return confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})


producer = make_producer()


def application(environ, start_response):
    number = environ["PATH_INFO"][1:]
    producer.produce("topic", number.encode())
    left = producer.flush(2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [number.encode() if left == 0 else b"stuck"]
