"""Instances of several lanes: while one of them computes, the next one copies.

For the receiver they are one instance, which has its next batch ready when the one before ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from headrace.engine.backends.contract import Instance, Model


def lanes_of(model: Model, instances: int) -> list[Instance]:
    """The lanes of so many instances, those of one instance side by side."""
    return [lane for _ in range(instances) for lane in _stages(model)]


def _stages(model: Model) -> Iterator[Instance]:
    first = model.instance()
    yield first
    beside = getattr(first, "beside", None)
    if beside is not None:
        yield from (beside() for _ in range(1, getattr(model, "stages", 1)))


class Shift:
    """Since when the lanes of one instance have it for the next batch; for their threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended_ns = 0

    def took(self, began_ns: int, ended_ns: int) -> int:
        """How long a run took since the one before it had ended."""
        with self._lock:
            free_ns, self._ended_ns = self._ended_ns, max(ended_ns, self._ended_ns)
        return max(ended_ns - max(began_ns, free_ns), 0)
