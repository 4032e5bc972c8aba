"""A few things kept of many that pass, spread over time, within bounds.

Pure: time is an argument, in seconds on one clock.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Thing = TypeVar("Thing")

# At first one a second. Whenever it is full every second thing goes, and the step becomes what is
# then between them, up to here; from then on the oldest goes. So 32 things are of the last half
# hour, not of the last month, in which what clients ask may have changed.
_FIRST_STEP_S, _LONGEST_STEP_S = 1.0, 64.0
# A little less than is between things, so that a steady stream keeps its beat.
_BEAT = 0.999
# One thing may have this part of the bytes, so that at least so many fit.
_LEAST = 4


class Reservoir(Generic[Thing]):
    """Keeps at most ``limit`` things of ``limit_bytes`` together."""

    def __init__(self, limit: int = 32, limit_bytes: int = 16 * 2**20) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._kept: deque[tuple[Thing, int, float]] = deque()
        self._size_bytes = 0
        self._step_s = _FIRST_STEP_S
        self._due_s: float | None = None

    @property
    def things(self) -> tuple[Thing, ...]:
        """What is kept, oldest first."""
        return tuple(thing for thing, _, _ in self._kept)

    @property
    def size_bytes(self) -> int:
        """How much that is."""
        return self._size_bytes

    def due(self, now_s: float) -> bool:
        """Whether the next thing that passes is wanted."""
        return self._due_s is None or now_s >= self._due_s

    def put(self, thing: Thing, size_bytes: int, now_s: float) -> None:
        """Take one; it is not kept when it alone needs too much of the room."""
        fits = size_bytes <= self._limit_bytes // _LEAST
        if fits and len(self._kept) >= self._limit:
            self._make_room()
        self._due_s = now_s + self._step_s
        if not fits:
            return
        self._kept.append((thing, size_bytes, now_s))
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes:
            self._drop_oldest()

    def _make_room(self) -> None:
        whole_s = self._kept[-1][2] - self._kept[0][2]
        step_s = 2 * whole_s / max(len(self._kept) - 1, 1)
        if len(self._kept) == 1 or step_s > _LONGEST_STEP_S:
            self._drop_oldest()
            return
        self._step_s = max(self._step_s, step_s * _BEAT)
        self._kept = deque(list(self._kept)[::2])  # whose last is a step of the new kind ago
        self._size_bytes = sum(size for _, size, _ in self._kept)

    def _drop_oldest(self) -> None:
        self._size_bytes -= self._kept.popleft()[1]
