"""A histogram cheap enough for the hot path: one bisection and three additions an observation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SECONDS: tuple[float, ...] = tuple(
    round(base * 10.0**exponent, 9) for exponent in range(-5, 2) for base in (1.0, 1.8, 3.2, 5.6)
)
"""Bucket bounds for durations: 10 µs to 56 s, four a decade, so a quantile is read within ±15 %."""

ROWS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Bucket bounds for batch sizes."""


class Histogram:
    """Counts by bucket, with the sum; for one thread."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return Prometheus' view: (upper bound, observations up to it), ending with ``+Inf``."""
        running, rows = 0, []
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            running += count
            rows.append(("+Inf" if bound is None else repr(float(bound)), float(running)))
        return rows
