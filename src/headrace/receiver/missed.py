"""Versions that could not be taken in, as while no descriptor was left: they are tried again.

The supervisor says once where a version serves, and then waits for us. Time comes in
as an argument.
"""

from __future__ import annotations

import errno
import os

from headrace.control import ModelServing
from headrace.loader.lifecycle import Backoff

_LONGEST_S = 2.0
# What a process lacks for a while: descriptors, memory, threads. Libraries hand on only the words.
_LACKS = tuple(map(os.strerror, (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)))


def may_pass(error: Exception) -> bool:
    """Whether it may go well when it is tried again, as nothing is wrong with what was asked."""
    return any(lack in str(error) for lack in _LACKS)


class Missed:
    """Where versions serve that are not served here yet, and when to try them again."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, int], ModelServing] = {}
        self._backoff = Backoff(longest_s=_LONGEST_S)
        self._due_s = 0.0

    def note(self, message: ModelServing, now_s: float) -> None:
        """It could not be taken in now."""
        self._messages[message.name, message.version] = message
        self._due_s = now_s + self._backoff.after_death(now_s)

    def forget(self, name: str, version: int) -> None:
        """A version is no more where it was said to be."""
        self._messages.pop((name, version), None)

    def wait_s(self, now_s: float) -> float | None:
        """How long until they are to be tried again; None when there are none."""
        return max(self._due_s - now_s, 0.0) if self._messages else None

    def take(self) -> tuple[ModelServing, ...]:
        """Take all of them, to be tried now."""
        messages, self._messages = tuple(self._messages.values()), {}
        return messages
