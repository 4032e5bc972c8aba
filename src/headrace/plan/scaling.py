"""How throughput grows with instances, and where it stops: the universal scalability law, pure.

Gunther, "A new interpretation of Amdahl's law and geometric scalability" (2002) and "Guerrilla
Capacity Planning" (2007):  X(N) = X(1) · N / (1 + s (N - 1) + k N (N - 1)).  s is contention, the
share that only one can do at a time; k is coherency, what each pair costs each other. Past the
peak, √((1 - s) / k), more instances do less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.plan.estimate import student_t

_PARTS = 3  # coefficients: X(1), s, k
_LEAST_POINTS = 2


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, and between which bounds it is with 95 %; None when the points are too few."""

    value: float
    low: float | None = None
    high: float | None = None

    def document(self) -> dict[str, float | None]:
        """As JSON, which has no infinity."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {name: _finite(value) for name, value in ends.items()}


@dataclass(frozen=True, slots=True)
class Scaling:
    """The fitted law: one instance's throughput, contention, coherency, and the peak."""

    one_rps: Interval
    contention: Interval
    coherency: Interval
    peak: Interval

    def throughput(self, instances: float) -> float:
        """What so many instances do together."""
        return self.one_rps.value * instances * self.speed(instances)

    def speed(self, instances: float) -> float:
        """How fast each of so many is, beside one that is alone."""
        others = instances - 1
        slowed = self.contention.value * others + self.coherency.value * instances * others
        return 1 / (1 + slowed)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "one_rps": self.one_rps.document(),
            "contention": self.contention.document(),
            "coherency": self.coherency.document(),
            "peak_instances": self.peak.document(),
        }


def fit(points: Iterable[tuple[int, float]]) -> Scaling:
    """Fit the law to (instances, throughput) points, by least squares of relative errors.

    N / X is linear in the coefficients a = 1 / X(1), a s and a k, none of which may be negative.
    With two points k is taken to be 0; bounds need more points than coefficients.

    Raises:
        ValueError: fewer than two different numbers of instances, or a throughput that is not
            positive.
    """
    known = sorted(points)
    if len({count for count, _ in known}) < _LEAST_POINTS:
        raise ValueError("a fit needs throughputs at two or more numbers of instances")
    if any(count < 1 or not 0 < rate < math.inf for count, rate in known):
        raise ValueError("instances are 1 or more, and throughputs positive")
    counts = np.array([count for count, _ in known], np.float64)
    cost = counts / np.array([rate for _, rate in known], np.float64)
    columns = [np.ones_like(counts), counts - 1, counts * (counts - 1)]
    if len(set(counts)) < _PARTS:
        columns.pop()
    design = np.stack(columns, axis=1) / cost[:, None]  # relative errors: every row is about 1
    found = _least_squares(design)
    a, contended, coherent = (*found, 0.0, 0.0)[:_PARTS]
    errors = _errors(design, found)
    return _scaling(a, contended / a, coherent / a, errors)


def _least_squares(design: NDArray[np.float64]) -> tuple[float, ...]:
    """Solve design · x = 1 with x ≥ 0: of all choices of what is 0, the best that is allowed."""
    width = design.shape[1]
    best, least = None, math.inf
    for kept in range(1, width + 1):
        for others in combinations(range(1, width), kept - 1):
            chosen = [0, *others]
            part, *_ = np.linalg.lstsq(design[:, chosen], np.ones(len(design)))
            gap = float(np.sum((design[:, chosen] @ part - 1) ** 2))
            if np.all(part >= 0) and part[0] > 0 and gap < least:
                least, best = gap, dict(zip(chosen, part.tolist(), strict=True))
    if best is None:
        raise ValueError("no throughput of one instance follows from these points")
    return tuple(best.get(place, 0.0) for place in range(width))


def _errors(design: NDArray[np.float64], found: Sequence[float]) -> tuple[float, ...] | None:
    """Half widths of 95 % of X(1), s and k, all relative to a: linearised; None of too few points.

    What was set to 0 keeps its uncertainty: it might have been a little more.
    """
    rows, width = design.shape
    if rows <= width:
        return None
    gaps = design @ np.array(found) - 1
    variance = float(gaps @ gaps) / (rows - width)
    covariance = np.linalg.inv(design.T @ design) * variance
    a = found[0]
    halves = []
    for place in range(_PARTS):
        slope = np.zeros(width)
        if place >= width:
            halves.append(0.0)
            continue
        slope[place] = 1 / a  # of value / a by the value, and by a
        if place:
            slope[0] = -found[place] / a**2
        halves.append(student_t(rows - width) * math.sqrt(float(slope @ covariance @ slope)))
    return tuple(halves)


def _scaling(
    a: float, contention: float, coherency: float, errors: tuple[float, ...] | None
) -> Scaling:
    peak = _peak(contention, coherency)
    if errors is None:
        return Scaling(Interval(1 / a), Interval(contention), Interval(coherency), Interval(peak))
    one, contended, coherent = errors
    sigma = Interval(contention, max(contention - contended, 0.0), contention + contended)
    kappa = Interval(coherency, max(coherency - coherent, 0.0), coherency + coherent)
    return Scaling(
        Interval(1 / a, (1 - min(one, 1.0)) / a, (1 + one) / a),
        sigma,
        kappa,
        Interval(
            peak,
            _peak(sigma.high or 0.0, kappa.high or 0.0),
            _peak(sigma.low or 0.0, kappa.low or 0.0),
        ),
    )


def _peak(contention: float, coherency: float) -> float:
    """The number of instances that does most; infinite without coherency."""
    if contention >= 1:
        return 1.0
    return math.inf if coherency <= 0 else max(1.0, math.sqrt((1 - contention) / coherency))


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value
