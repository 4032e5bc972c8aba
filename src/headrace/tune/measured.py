"""What was measured of a variant: run times by rows, bounds, lanes beside each other. Pure.

Also when to stop: larger batches than pay are not worth the time of measuring them.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.tune.space import Variant

# A row of this batch costs more than one of the best so far; what is nearer is noise.
_WORSE = 1.03
_MOST_WORSE = 2
# The knee: the smallest batch whose cost a row is within this of the best, as the scheduler's.
_KNEE = 1.02
# A batch longer than this part of the objective leaves no time to wait for the one before.
_ROOM = 0.9
# 95 % of a binomial law with one half are within so many roots of its size: order statistics
# so far from the middle bound the median.
_Z = 0.98


@dataclass(frozen=True, slots=True)
class Point:
    """All times of runs of so many rows."""

    rows: int
    times_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle one."""
        return statistics.median(self.times_s)

    @property
    def p95_s(self) -> float:
        """What 95 of 100 do not exceed."""
        return float(np.quantile(self.times_s, 0.95))

    @property
    def bounds_s(self) -> tuple[float, float]:
        """Between which the median is with 95 %, whatever the law of the times."""
        ordered, number = sorted(self.times_s), len(self.times_s)
        reach = _Z * math.sqrt(number)
        low = max(math.floor(number / 2 - reach), 0)
        high = min(math.ceil(number / 2 + reach), number - 1)
        return ordered[low], ordered[high]

    def with_more(self, times_s: Sequence[float]) -> Point:
        """The point with another round of times."""
        return Point(self.rows, (*self.times_s, *times_s))


@dataclass(frozen=True, slots=True)
class Measured:
    """What a variant does.

    ``speeds``: how fast each of so many lanes is beside one that is alone. ``pads``: batches are
    padded up to sizes that were compiled.
    """

    variant: Variant
    points: tuple[Point, ...]
    elements: int
    pads: bool
    memory_bytes: int
    speeds: Mapping[int, float] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batches that were measured."""
        return tuple(point.rows for point in self.points)

    @property
    def knee(self) -> int:
        """The batch past which a row costs no less."""
        return knee(self.points)

    def run_s(self, rows: int) -> float:
        """The median of a run of so many rows, which was measured."""
        return next(point.median_s for point in self.points if point.rows == rows)

    def speed(self, lanes: int) -> float:
        """How fast each of so many lanes is; between what was measured on a straight line."""
        known = sorted({1: 1.0, **self.speeds}.items())
        counts = [count for count, _ in known]
        place = bisect_left(counts, lanes)
        if place == len(known):
            return known[-1][1]
        if counts[place] == lanes:
            return known[place][1]
        (a, slow), (b, fast) = known[place - 1], known[place]
        return slow + (fast - slow) * (lanes - a) / (b - a)


def knee(points: Sequence[Point]) -> int:
    """The smallest batch whose cost a row is near the best."""
    best = min(point.median_s / point.rows for point in points)
    return next(point.rows for point in points if point.median_s / point.rows <= _KNEE * best)


def is_enough(points: Sequence[Point], slo_s: float) -> bool:
    """Whether a larger batch than these is not worth measuring.

    Rows of the last two cost more than those of the best, or the last leaves no room in the
    objective.
    """
    best, worse = math.inf, 0
    for point in points:
        cost = point.median_s / point.rows
        worse = worse + 1 if cost > _WORSE * best else 0
        best = min(best, cost)
    return worse >= _MOST_WORSE or (bool(points) and points[-1].median_s > _ROOM * slo_s)


def within(points: Sequence[Point], slo_s: float) -> tuple[Point, ...]:
    """The points that leave room in the objective; the first at least."""
    return tuple(point for point in points if point.median_s <= _ROOM * slo_s) or tuple(points[:1])
