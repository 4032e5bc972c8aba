"""A histogram cheap enough for the hot path: an observation is put on a list, and counted later.

To count a thousand at once costs a tenth of counting them one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SECONDS: tuple[float, ...] = tuple(
    round(base * 10.0**exponent, 9) for exponent in range(-5, 2) for base in (1.0, 1.8, 3.2, 5.6)
)
"""Bucket bounds for durations: 10 µs to 56 s, four a decade, so a quantile is read within ±15 %."""

LATENCY: tuple[float, ...] = (
    *(bound for bound in SECONDS if bound < 1e-3),  # noqa: PLR2004 - a millisecond
    *(round(10.0 ** (tenths / 10), 6) for tenths in range(-30, 11)),
    *(bound for bound in SECONDS if bound > 10.0),  # noqa: PLR2004
)
"""Bounds for what clients see: from 1 ms to 10 s ten a decade, so a quantile is read within ±5 %
where latencies are spread over more than a bucket."""

ROWS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Bucket bounds for batch sizes."""


# So many wait to be counted at most.
_WAITING = 1024


@functools.cache
def _names(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(repr(float(bound)) for bound in bounds), "+Inf")


class Histogram:
    """Counts by bucket, with the sum; for one thread."""

    __slots__ = ("_counts", "_edges", "_total", "_waiting", "bounds")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self._edges = np.array(self.bounds)
        self._counts = np.zeros(len(self.bounds) + 1, np.int64)
        self._total = 0.0
        self._waiting: list[float] = []

    def observe(self, value: float) -> None:
        """Count a value."""
        waiting = self._waiting
        waiting.append(value)
        if len(waiting) >= _WAITING:
            self._count()

    @property
    def counts(self) -> list[int]:
        """How many values are in each bucket, and past the last."""
        self._count()
        counts: list[int] = self._counts.tolist()
        return counts

    @property
    def total(self) -> float:
        """The sum of all values."""
        self._count()
        return self._total

    def quantile(self, share: float) -> float | None:
        """The bound of the bucket that has this share of all values; None: there are no values."""
        wanted, running = share * sum(self.counts), 0
        if not wanted:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            if running >= wanted:
                return bound
        return self.bounds[-1]

    def cumulative(self) -> list[tuple[str, float]]:
        """Return Prometheus' view: (upper bound, observations up to it), ending with ``+Inf``."""
        self._count()
        counts = np.cumsum(self._counts).astype(float).tolist()
        return list(zip(_names(self.bounds), counts, strict=True))

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count many values."""
        places = np.searchsorted(self._edges, values)  # a value at a bound is in the bucket below
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._total += float(values.sum())

    def _count(self) -> None:
        if self._waiting:
            self.observe_all(np.array(self._waiting))
            self._waiting.clear()
