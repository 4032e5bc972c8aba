"""Which runs of a lane replay a captured CUDA graph: pure.

A graph holds addresses, so it is of one shape of every input, rows included. Each has buffers of
its own on the GPU. Warm-up comes first, and so has its graphs; shapes of clients have what room is
left.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

Shapes = tuple[tuple[int, ...], ...]
"""Those of all inputs, in the order of the signature."""

# Of one lane: every batch size there is at five item shapes. A graph takes about a megabyte besides
# its buffers, and tens of milliseconds to capture, which a client waits for.
MOST_GRAPHS = 120
# What a capture must leave of the GPU's memory, for runs without one and for other models.
_RESERVE_BYTES = 2**30
_RESERVE_PART = 8  # of a small GPU only the eighth part


class Step(Enum):
    """How a run is made."""

    REPLAY = "replay"
    CAPTURE = "capture"
    EAGER = "eager"


class Captures:
    """What a lane has captured, and whether it may capture more."""

    def __init__(self, total_bytes: int, most: int = MOST_GRAPHS) -> None:
        self._reserve_bytes = min(_RESERVE_BYTES, total_bytes // _RESERVE_PART)
        self._most = most
        self._kept: set[Shapes] = set()
        self._left: set[Shapes] = set()

    def step(self, shapes: Shapes, free_bytes: Callable[[], int]) -> Step:
        """How to run inputs of these shapes; what is free is asked only where it counts."""
        if shapes in self._kept:
            return Step.REPLAY
        full = len(self._kept) + len(self._left) >= self._most
        if full or shapes in self._left or free_bytes() < self._reserve_bytes:
            return Step.EAGER
        return Step.CAPTURE

    def keep(self, shapes: Shapes) -> None:
        """There is a graph of these now."""
        self._kept.add(shapes)

    def leave(self, shapes: Shapes) -> None:
        """There is no room for a graph of these; they take the place of one, as trying costs."""
        self._left.add(shapes)

    def stop(self) -> None:
        """Capture no more: the program cannot be captured. What there is stays."""
        self._most = 0
