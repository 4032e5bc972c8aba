"""Signals that end a command as Ctrl-C does: what it started ends, and what it left is removed."""

from __future__ import annotations

import signal
import sys


def status_of(number: int) -> int:
    """The exit status of a command that a signal has ended, as shells say it."""
    return 128 + number


def end_by_signals() -> None:
    """Have SIGTERM do so, and SIGHUP, when the terminal is gone, but where nohup ignores it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    sys.exit(status_of(number))
