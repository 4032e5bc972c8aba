"""How long a batch will take: a table by size that starts from warm-up and follows what happens.

Pure. For every bucket a base curve ℓ₀(b), made from warm-up (isotonic, holes filled linearly), and
on top of it two corrections learnt online: one for every size, and one common to all sizes, so that
a machine which has become slower is seen at once at sizes that have not run since. The tail is a
ratio ``r95`` of actual to expected, tracked by a stochastic quantile step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

# Each observation moves a size's correction and the common one by this share of its error.
_SIZE_STEP = 0.1
_COMMON_STEP = 0.1
# One observation counts as at most this far off, so that a hiccup does not rewrite the table.
_ERROR_LIMIT = 0.5
# Stochastic quantile tracking: up by 0.95 of it on a miss, down by 0.05 on a hit.
_TAIL_STEP = 0.02
_TAIL_QUANTILE = 0.95
_TAIL_LEAST, _TAIL_MOST = 1.02, 3.0
# The knee: the smallest batch whose cost a row is within this of the best.
_KNEE = 1.05
# How often the knee is looked at again.
_KNEE_EVERY = 256

Measurement = tuple[int, int, float, float]
"""Elements a row, rows, median seconds, 95th percentile seconds."""


class _Curve:
    """The expected seconds of one bucket: base and corrections by rows."""

    __slots__ = ("base", "corrections", "knees", "observed")

    def __init__(self, base: list[float]) -> None:
        self.base = base
        self.corrections = [1.0] * len(base)
        self.observed = 0
        self.knees: dict[float | None, int] = {}


class LatencyModel:
    """Predicts run times of one served version; for one thread.

    ``sizes`` are the batch sizes that may run, ascending; with ``pads`` every batch is padded up to
    the next of them and costs what that costs.
    """

    def __init__(
        self, measurements: Iterable[Measurement], *, sizes: Sequence[int], pads: bool
    ) -> None:
        self._sizes = tuple(sizes) or (1,)
        self._pads = pads
        self._scale = 1.0
        self._curves: dict[int, _Curve] = {}
        points: dict[int, list[tuple[int, float]]] = {}
        tails = []
        for elements, rows, median_s, p95_s in measurements:
            points.setdefault(elements, []).append((rows, median_s))
            tails.append(p95_s / median_s if median_s > 0 else 1.0)
        for elements, found in points.items():
            self._curves[elements] = _Curve(self._base(sorted(found)))
        tail = sorted(tails)[len(tails) // 2] if tails else 1.2
        self.tail = min(max(tail, 1.1), 2.0)

    def expect(self, elements: int, rows: int) -> float:
        """The seconds a run of this many rows takes, half of the time; 0 when nothing is known."""
        curve = self._curves.get(elements) or self._derive(elements)
        if curve is None:
            return 0.0
        if rows >= len(curve.base):
            top = len(curve.base) - 1
            return curve.base[top] * rows / top * curve.corrections[top] * self._scale
        return curve.base[rows] * curve.corrections[rows] * self._scale

    def bound(self, elements: int, rows: int) -> float:
        """The seconds it takes at most, 95 times in 100."""
        return self.expect(elements, rows) * self.tail

    def observe(self, elements: int, rows: int, seconds: float) -> None:
        """Learn from a run."""
        curve = self._curves.get(elements) or self._derive(elements)
        if curve is None:
            self._curves[elements] = _Curve(self._base([(rows, seconds)]))
            return
        rows = min(rows, len(curve.base) - 1)
        ratio = seconds / max(curve.base[rows] * curve.corrections[rows] * self._scale, 1e-9)
        hit = ratio <= self.tail
        tail = self.tail - _TAIL_STEP * (1 - _TAIL_QUANTILE if hit else -_TAIL_QUANTILE)
        self.tail = min(max(tail, _TAIL_LEAST), _TAIL_MOST)
        error = min(max(ratio - 1.0, -_ERROR_LIMIT), _ERROR_LIMIT)
        self._scale *= 1.0 + _COMMON_STEP * error
        self._correct(curve, rows, 1.0 + _SIZE_STEP * error)

    def knee(self, elements: int, slo_s: float | None) -> int:
        """The batch size past which a larger one does not pay, or would fill half the objective."""
        curve = self._curves.get(elements) or self._derive(elements)
        if curve is None:
            return self._sizes[-1]
        knee = curve.knees.get(slo_s)
        if knee is None or curve.observed >= _KNEE_EVERY:
            curve.observed = 0
            knee = curve.knees[slo_s] = self._find_knee(elements, slo_s)
        return knee

    def padded(self, rows: int) -> int:
        """The rows that really run."""
        if not self._pads:
            return rows
        return next((size for size in self._sizes if size >= rows), rows)

    def _find_knee(self, elements: int, slo_s: float | None) -> int:
        costs = [(self.expect(elements, size) / size, size) for size in self._sizes]
        best = min(cost for cost, _ in costs)
        knee = next(size for cost, size in costs if cost <= best * _KNEE)
        if slo_s is None:
            return knee
        fitting = [s for s in self._sizes if s <= knee and 2 * self.expect(elements, s) <= slo_s]
        return max(fitting, default=self._sizes[0])

    def _correct(self, curve: _Curve, rows: int, factor: float) -> None:
        """Correct every row count that costs the same run, and keep the curve rising."""
        curve.observed += 1
        first = last = rows
        if self._pads:
            last = self.padded(rows)
            first = max((size for size in self._sizes if size < last), default=0) + 1
        corrected = curve.corrections[last] * factor
        for row in range(first, min(last, len(curve.base) - 1) + 1):
            curve.corrections[row] = corrected
        below = curve.base[first - 1] * curve.corrections[first - 1] if first > 1 else 0.0
        if (
            curve.base[last] * corrected < below
        ):  # a larger batch is not faster: the smaller is wrong
            for row in range(1, first):
                if curve.base[row] * curve.corrections[row] > curve.base[last] * corrected:
                    curve.corrections[row] = curve.base[last] * corrected / curve.base[row]

    def _base(self, points: Sequence[tuple[int, float]]) -> list[float]:
        """Seconds by row count, 0 to the largest size: isotonic points, straight lines between."""
        risen: list[tuple[int, float]] = []
        for rows, seconds in points:
            risen.append((rows, max(seconds, risen[-1][1] if risen else 0.0, 1e-7)))
        if risen[0][0] > 1:
            risen.insert(0, (1, risen[0][1] / risen[0][0]))
        top = max(self._sizes[-1], risen[-1][0])
        if risen[-1][0] < top:
            risen.append((top, risen[-1][1] * top / risen[-1][0]))
        base = [0.0] * (top + 1)
        base[risen[0][0]] = risen[0][1]
        for (a, at_a), (b, at_b) in pairwise(risen):
            for rows in range(a + 1, b + 1):
                base[rows] = at_a + (at_b - at_a) * (rows - a) / (b - a)
        if self._pads:
            base = [0.0, *(base[min(self.padded(rows), top)] for rows in range(1, top + 1))]
        return base

    def _derive(self, elements: int) -> _Curve | None:
        """Guess a bucket never seen from the nearest one, in proportion to its elements."""
        if not self._curves:
            return None
        near = min(self._curves, key=lambda known: abs(known - elements))
        ratio = elements / near if near else 1.0
        curve = _Curve([seconds * ratio for seconds in self._curves[near].base])
        self._curves[elements] = curve
        return curve
