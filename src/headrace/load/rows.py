"""The rows of a run in memory that the sender writes while its caller looks on.

One request is one row. Nothing is sent between the two and nobody waits for the other: what a
caller sees may be torn between two columns, which is good enough for a progress line, and whole
once the sender has ended. Memory that is never touched costs nothing, so there may be many more
rows than requests.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headrace.errors import SettingsError
from headrace.load.arrivals import Times
from headrace.load.result import Kind

KINDS = tuple(Kind)
"""The order of the counters."""

_STOP, _COUNT, _ENDED = 0, 1, 2
_HEAD = 8 * (_ENDED + len(KINDS))
_COLUMNS = 4
_ROW_BYTES = 8 * _COLUMNS + 2


class Rows:
    """Times in seconds since the start, 0.0: not yet; outcomes by number.

    Through a memoryview one element is read or written at a third of numpy's price, so the sender
    has ``intended_s``, ``sent_s``, ``done_s``, ``queued_s`` and ``outcome`` as such.
    """

    def __init__(self, memory: mmap.mmap, capacity: int) -> None:
        self.capacity = capacity
        self._memory = memory
        view = memoryview(memory)
        self._head = view[:_HEAD].cast("q")
        ends = [_HEAD + 8 * capacity * number for number in range(_COLUMNS + 1)]
        self.intended_s, self.sent_s, self.done_s, self.queued_s = (
            view[start:end].cast("d") for start, end in pairwise(ends)
        )
        self.outcome = view[ends[-1] : ends[-1] + 2 * capacity].cast("H")

    @classmethod
    def alone(cls, capacity: int) -> Self:
        """Make rows that nobody else sees.

        Raises:
            SettingsError: there is no memory for so many.
        """
        with _many(capacity):
            return cls(mmap.mmap(-1, _size(capacity)), capacity)

    @classmethod
    def create(cls, capacity: int) -> tuple[Self, int]:
        """Make rows to share; return them and the descriptor to hand to the sender.

        Raises:
            SettingsError: there is no memory for so many.
        """
        descriptor = os.memfd_create("headrace-load")
        try:
            with _many(capacity):
                os.ftruncate(descriptor, _size(capacity))
                return cls.join(descriptor, capacity), descriptor
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def join(cls, descriptor: int, capacity: int) -> Self:
        """Open shared rows."""
        return cls(mmap.mmap(descriptor, _size(capacity)), capacity)

    @property
    def stopped(self) -> bool:
        """Whether no more requests shall be sent."""
        return self._head[_STOP] != 0

    def stop(self) -> None:
        """Have no more requests sent."""
        self._head[_STOP] = 1

    @property
    def count(self) -> int:
        """Requests so far."""
        return self._head[_COUNT]

    @count.setter
    def count(self, value: int) -> None:
        self._head[_COUNT] = value

    def ended(self, kind: int, count: int) -> None:
        """Count requests that ended in a way, by its place in ``KINDS``."""
        self._head[_ENDED + kind] += count

    @property
    def ended_by_kind(self) -> NDArray[np.int64]:
        """How many have ended, in the order of ``KINDS``."""
        return np.array(self._head[_ENDED:], np.int64)

    def columns(self, first: int = 0) -> tuple[Times, Times, Times, NDArray[np.uint16]]:
        """Copy the rows from ``first`` to the last: intended, sent (NaN: never), done, outcome."""
        rows = slice(first, self.count)
        intended_s, sent_s, done_s = (
            np.asarray(column)[rows].copy()
            for column in (self.intended_s, self.sent_s, self.done_s)
        )
        sent_s[sent_s == 0.0] = np.nan
        return intended_s, sent_s, done_s, np.asarray(self.outcome)[rows].copy()

    def queues_s(self) -> Times:
        """Copy how long each waited for a connection, of those so far."""
        return np.asarray(self.queued_s)[: self.count].copy()


@contextmanager
def _many(capacity: int) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError, ValueError, MemoryError) as error:
        raise SettingsError(
            f"there is no room for the times of up to {capacity:,} requests: "
            "give a shorter --duration-s"
        ) from error


def _size(capacity: int) -> int:
    return _HEAD + capacity * _ROW_BYTES
