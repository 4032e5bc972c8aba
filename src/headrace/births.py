"""What crosses the border of the nursery: a socket of packets between it and the supervisor.

Supervisor → nursery: what an engine is called, with the descriptors of its standard input and
output. Nursery → supervisor: of each engine asked for, in that order, that it is born, with a
descriptor of its process, or why it is not; and of each that has ended, how.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from typing import NamedTuple

_REPORT = struct.Struct("=cqi")

NAME_BYTES = 1024
"""No name of an engine is longer."""
REPORT_BYTES = _REPORT.size


class Born(NamedTuple):
    """An engine there is; a descriptor of its process (pidfd_open(2)) comes along."""

    pid: int


class NotBorn(NamedTuple):
    """An engine there is not: the error's number."""

    errno: int


class Ended(NamedTuple):
    """An engine that was; ``status`` is its exit status, or less than 0 a signal's number."""

    pid: int
    status: int


Report = Born | NotBorn | Ended


def pack(report: Report) -> bytes:
    """Encode a report as one packet."""
    match report:
        case Born(pid):
            return _REPORT.pack(b"b", pid, 0)
        case NotBorn(errno):
            return _REPORT.pack(b"n", 0, errno)
        case Ended(pid, status):
            return _REPORT.pack(b"e", pid, status)


def unpack(packet: bytes) -> Report:
    """Decode what ``pack`` made."""
    kind, pid, number = _REPORT.unpack(packet)
    if kind == b"b":
        return Born(pid)
    return Ended(pid, number) if kind == b"e" else NotBorn(number)


def end_group(pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    """End what an engine has left: its model may have started processes, which are of its group.

    First by SIGTERM, which leaves Python's own, that removes shared memory of those that died and
    then ends by itself; soon after that by SIGKILL.

    It leads the group, so this is its own if its end has not been asked for (waitpid(2)), or just
    now: the kernel gives every other number before it gives one again, and none that a group has.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
