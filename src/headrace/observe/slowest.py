"""The slowest of the things that passed lately, and how slow one has to be to be among them.

Pure: time is an argument, in seconds on one clock.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Slowest(Generic[Thing]):
    """Keeps the ``limit`` slowest of a window of time and of the one before it.

    So what it has is of the last one to two windows, and a slow minute of yesterday hides nothing.
    """

    def __init__(self, limit: int = 16, window_s: float = 60.0) -> None:
        self._limit = limit
        self._window_s = window_s
        self._numbers = itertools.count()  # so that things themselves are never compared
        self._now: list[tuple[float, int, Thing]] = []
        self._before: list[tuple[float, int, Thing]] = []
        self._until_s = float("-inf")

    def wants(self, seconds: float, now_s: float) -> bool:
        """Whether one that took so long would be kept."""
        return now_s >= self._until_s or len(self._now) < self._limit or seconds > self._now[0][0]

    def put(self, seconds: float, thing: Thing, now_s: float) -> None:
        """Take one; the fastest that is kept makes room for it."""
        self._turn(now_s)
        kept = (seconds, next(self._numbers), thing)
        if len(self._now) < self._limit:
            heapq.heappush(self._now, kept)
        else:
            heapq.heappushpop(self._now, kept)

    def things(self, now_s: float) -> list[Thing]:
        """What is kept, slowest first; of two that took as long the later comes first."""
        self._turn(now_s)
        ordered = sorted(self._now + self._before, key=lambda kept: kept[:2], reverse=True)
        return [thing for _, _, thing in ordered[: self._limit]]

    def _turn(self, now_s: float) -> None:
        if now_s < self._until_s:
            return
        recent = now_s < self._until_s + self._window_s
        self._before, self._now = (self._now if recent else []), []
        self._until_s = (self._until_s if recent else now_s) + self._window_s
