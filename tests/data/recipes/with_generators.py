# SPDX-License-Identifier: MIT
"""Random number generators made before the fork: one of Python's, one of a class of the application's, PyCryptodome's."""
import random

from Cryptodome import Random


class Dice(random.Random):
    pass


generator, dice = random.Random(), Dice()
system = random.SystemRandom()


def in_worker():
    print("worker", generator.random(), dice.random(), Random.get_random_bytes(8).hex(), flush=True)
