"""Signals to end that come before the supervisor is there, which would drain, or when it is done.

An error raised by a handler is good for what it interrupts only where that is code of ours. Amid
imports it may be lost, as in what is called when a lock of a module goes, or become another error,
as in a class of pydantic's. And an event loop would lose the call that it was about to make: who
waits for that would wait for ever.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from enum import Enum, auto
from types import FrameType

from headrace import INTERRUPTED_STATUS

_STATUSES = {signal.SIGTERM: 0, signal.SIGHUP: 0, signal.SIGINT: INTERRUPTED_STATUS}


class _Then(Enum):
    REMEMBER = auto()
    END = auto()
    RAISE = auto()


class EarlySignals:
    """Takes SIGTERM, SIGHUP and Ctrl-C; ``status`` is the exit status once one has come.

    At first it only remembers.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._then = _Then.REMEMBER

    def listen(self) -> None:
        """Take the signals, from the main thread, but none that is ignored.

        SIGHUP is under nohup, and SIGINT in the background of a script.
        """
        for number in _STATUSES:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def end(self) -> None:
        """From now on, and if one has come: end the process on the spot, with nothing to undo."""
        self._change(_Then.END)

    def raise_(self) -> None:
        """From now on, and if one has come: raise ``SystemExit``, and after that remember.

        SIGHUP may come with SIGTERM, and must not end what the first one began.
        """
        self._change(_Then.RAISE)

    def remember(self) -> None:
        """From now on ``status`` tells."""
        self._change(_Then.REMEMBER)

    def ignore(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, as the status is known: closed, the loop would let them end the process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _STATUSES)  # the loop sets what would end it
        for number in _STATUSES:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STATUSES)

    def _change(self, then: _Then) -> None:
        self._then = then
        self._heed()

    def _take(self, number: int, _: FrameType | None) -> None:
        self.status = _STATUSES[signal.Signals(number)]
        self._heed()

    def _heed(self) -> None:
        if self.status is None:
            return
        if self._then is _Then.END:
            os._exit(self.status)
        if self._then is _Then.RAISE:
            self._then = _Then.REMEMBER
            sys.exit(self.status)
