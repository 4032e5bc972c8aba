"""Where pinned memory begins and ends.

CUDA copies from memory that is pinned and from memory that is not, but refuses what is partly both.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

import numpy as np

Release = Callable[[], None]


class Edges:
    """The edges of all pinned areas, by their addresses; for the threads of all lanes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sorted: tuple[int, ...] = ()  # replaced as a whole: it is read without the lock

    def of(self, areas: Sequence[memoryview], release: Release) -> Release:
        """Know the edges of these until they are released; the end of that is returned."""
        edges = [edge for area in areas for edge in _ends(area)]
        with self._lock:
            self._sorted = tuple(sorted((*self._sorted, *edges)))

        def let_go() -> None:
            release()
            with self._lock:
                left = list(self._sorted)
                for edge in edges:
                    left.remove(edge)
                self._sorted = tuple(left)

        return let_go

    def cut(self, address: int, size_bytes: int) -> bool:
        """Whether one lies within these bytes."""
        edges = self._sorted
        return bisect_left(edges, address + size_bytes) > bisect_right(edges, address)


def _ends(area: memoryview) -> tuple[int, int]:
    address = int(np.frombuffer(area, np.uint8).ctypes.data)
    return address, address + len(area)
