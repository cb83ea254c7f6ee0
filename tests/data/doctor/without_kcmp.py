# SPDX-License-Identifier: MIT
"""Runs a program under a filter that refuses kcmp(2), as containers' do: without_kcmp.py PROGRAM [ARGUMENT...]"""
import ctypes
import os
import struct
import sys

KCMP = {"x86_64": 312, "aarch64": 272}[os.uname().machine]
program = b"".join(struct.pack("=HBBI", *line) for line in (
    (0x20, 0, 0, 0),              # the call's number
    (0x15, 0, 1, KCMP),           # kcmp?
    (0x06, 0, 0, 0x00050000 | 1),  # EPERM
    (0x06, 0, 0, 0x7fff0000),     # any other is allowed
))
buffer = ctypes.create_string_buffer(program)
header = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0          # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, header, 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv(sys.argv[1], sys.argv[1:])
