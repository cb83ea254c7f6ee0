# SPDX-License-Identifier: MIT
#
# The Python side of forksafe.python: run once in a process of the application, in a namespace of its own. C calls run()
# with a request and gets an answer, both as tapes (tape.h). Only what is an Exception is turned into an answer: what
# the host's signal handlers raise to end it (SystemExit, KeyboardInterrupt) goes to C, which raises it again for the host.
import _imp
import linecache
import os
import struct
import sys
import traceback

HERE = "<forksafe>"
EXACT = 2**53

shared = {"__name__": "forksafe_hooks"}  # the names that exec() and eval() of one process share


class NotLoaded(Exception):
    pass


def read(tape, at):
    """The value at `at` of a tape, and where the next one begins."""
    tag, at = tape[at : at + 1], at + 1
    if tag in b"ntf":
        return {b"n": None, b"t": True, b"f": False}[tag], at
    if tag == b"d":
        number = struct.unpack_from("=d", tape, at)[0]
        return int(number) if number.is_integer() and abs(number) <= EXACT else number, at + 8
    count, at = struct.unpack_from("=Q", tape, at)[0], at + 8
    if tag == b"s":
        return tape[at : at + count].decode("utf-8", "surrogateescape"), at + count
    items = []
    for _ in range(count if tag == b"l" else 2 * count):
        item, at = read(tape, at)
        items.append(item)
    return items if tag == b"l" else dict(zip(items[::2], items[1::2])), at


def text(value):
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which no encoding has
        return value.encode("utf-8", "backslashreplace")


def write(value, flat=True):
    """The tape of a value; what cannot cross as what it is crosses as its repr."""
    if value is None or value is True or value is False:
        return {None: b"n", True: b"t", False: b"f"}[value]
    if isinstance(value, float) or isinstance(value, int) and abs(value) <= EXACT:
        return struct.pack("=cd", b"d", value)
    if isinstance(value, str):
        value = text(value)
    if isinstance(value, (bytes, bytearray)):
        return struct.pack("=cQ", b"s", len(value)) + value
    if flat and isinstance(value, (list, tuple)):
        return struct.pack("=cQ", b"l", len(value)) + b"".join(write(item, False) for item in value)
    if flat and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        pairs = (write(key) + write(item, False) for key, item in value.items())
        return struct.pack("=cQ", b"m", len(value)) + b"".join(pairs)
    return write(repr(value))


def find(target, may_import):
    """What "package.module:name.name" names; NotLoaded where nobody has imported the module."""
    name, colon, path = target.partition(":")
    if not colon or not name or not path:
        raise ValueError("a target is 'package.module:name', this is %r" % target)
    if may_import:
        __import__(name)
    found = sys.modules.get(name)
    if found is None:
        raise NotLoaded
    for attribute in path.split("."):
        found = getattr(found, attribute)
    return found


def call(target, where, arguments, keywords):
    return find(target, keywords.pop("import", False))(*arguments, **keywords)


def compiled(source, where, mode):
    """Its lines are to be had for tracebacks, under the line of the script that it stands in."""
    name = "<%s>" % (where or "hook")
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    return compile(source, name, mode)


def execute(source, where, arguments, keywords):
    exec(compiled(source, where, "exec"), shared)


def evaluate(source, where, arguments, keywords):
    return eval(compiled(source.strip(), where, "eval"), shared)


KINDS = {"call": call, "exec": execute, "eval": evaluate}


def report(error):
    """What it is in the first line, then Python's traceback without our own frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == HERE:
        frames = frames.tb_next
    what = traceback.format_exception_only(type(error), error)
    lines = traceback.format_exception(type(error), error, frames) if frames is not None else what
    return "\n".join([what[-1].strip()] + ["".join(lines).rstrip()] * (len(lines) > 1))


def run(tape):
    try:
        kind, what, where, arguments, keywords = read(b"l" + struct.pack("=Q", 5) + tape, 0)[0]
        return write("value") + write(KINDS[kind](what, where, arguments, keywords))
    except NotLoaded:
        return write("absent") + write("not loaded")
    except Exception as error:
        return write("error") + write(report(error))


deferred = []  # what os.register_at_fork knows of us: nothing can be taken back


def defer(callback):
    """Whether the caller is in os.fork(), which holds the import lock; then `callback` runs in the child."""
    if not _imp.lock_held():
        return False
    if not deferred:
        os.register_at_fork(after_in_child=callback)
        deferred.append(callback)
    return True
