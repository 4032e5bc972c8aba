"""Up to which batch size a larger one pays, by timing them in turn. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Larger batches than the first to take this long are not tried.
_LONGEST_RUN_S = 2.0
# A size that costs this many times more a row than the best, twice in a row, ends the search; so
# does a row of sizes none of which costs noticeably less than the best before.
_WORSE, _MOST_WORSE = 1.05, 2
_BETTER, _MOST_EVEN = 0.98, 4
# What ends it is timed again if its runs are no longer than this: another program may have had the
# cores just then, and sizes that are given up here never serve.
_SHORT_RUN_S = 0.02


@dataclass(frozen=True, slots=True)
class Timed:
    """What runs of a size took, in seconds, and how often it was timed."""

    median_s: float
    p95_s: float
    rounds: int = 1


class SizeSearch:
    """Takes times of ascending sizes until a larger one does not pay.

    ``longest_s`` is what a run may take; the first size stays, however long.
    """

    def __init__(self, longest_s: float = math.inf) -> None:
        self._longest_s = min(longest_s, _LONGEST_RUN_S)
        self._timed: dict[int, Timed] = {}

    def add(self, rows: int, times_s: Sequence[float]) -> None:
        """Take the times of a size; of one timed before, what took less is believed.

        Whoever disturbs a run makes it longer.
        """
        found = Timed(statistics.median(times_s), float(np.quantile(times_s, 0.95)))
        before = self._timed.get(rows)
        if before is not None:
            quieter = min(before, found, key=lambda one: one.median_s)
            found = Timed(quieter.median_s, quieter.p95_s, before.rounds + 1)
        self._timed[rows] = found

    @property
    def has_ended(self) -> bool:
        """Whether larger sizes than these need not be timed."""
        best, worse, even = math.inf, 0, 0
        for rows, found in self._timed.items():
            cost_s = found.median_s / rows
            worse = worse + 1 if cost_s > best * _WORSE else 0
            even = even + 1 if cost_s > best * _BETTER else 0
            best = min(best, cost_s)
        return self._is_too_long or worse >= _MOST_WORSE or even >= _MOST_EVEN

    @property
    def spent_s(self) -> float:
        """What one run of every size takes."""
        return sum(found.median_s * found.rounds for found in self._timed.values())

    def doubtful(self) -> list[int]:
        """The sizes to time again before that is believed: the best, and those after it."""
        sizes = list(self._timed)
        if self._is_too_long:
            sizes = sizes[-1:]
        else:
            best = min(sizes, key=lambda rows: self._timed[rows].median_s / rows)
            sizes = sizes[sizes.index(best) :]
        return [
            rows
            for rows in sizes
            if self._timed[rows].rounds == 1 and self._timed[rows].median_s <= _SHORT_RUN_S
        ]

    @property
    def kept(self) -> dict[int, Timed]:
        """The sizes that may run: without a last one that takes too long."""
        kept = self._timed.copy()
        if self._is_too_long:
            kept.popitem()
        return kept

    @property
    def _is_too_long(self) -> bool:
        """Whether the last size is."""
        _, *others = self._timed.values()
        return bool(others) and others[-1].median_s > self._longest_s
