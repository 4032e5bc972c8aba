"""A histogram as Prometheus' text has it, and what can be read of it: pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Counts:
    """How many values fell into each bucket, and the sum of all.

    ``bounds`` are the upper ends of the buckets, ascending; the last one is infinite.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    total: float = 0.0

    @classmethod
    def of(cls, cumulative: Mapping[float, float], total: float) -> Counts:
        """Read Prometheus' view: by each bound, how many values are at most that."""
        bounds = tuple(sorted(cumulative))
        steps = pairwise((0.0, *(cumulative[bound] for bound in bounds)))
        return cls(bounds, tuple(max(after - before, 0.0) for before, after in steps), total)

    @property
    def count(self) -> float:
        """How many values there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Their mean; None of none."""
        return self.total / self.count if self.count > 0 else None

    def quantile(self, share: float) -> float | None:
        """The value that this share of all is below; None of none.

        Within a bucket values are taken to be spread evenly, as ``histogram_quantile`` does; what
        is past the last finite bound counts as that bound.
        """
        wanted, seen, low = share * self.count, 0.0, 0.0
        if self.count <= 0:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count > 0 and seen + count >= wanted:
                if math.isinf(bound):
                    return low
                return low + (bound - low) * max(wanted - seen, 0.0) / count
            seen += count
            low = low if math.isinf(bound) else bound
        return low

    def fell_from(self, before: Counts) -> bool:
        """Whether some count is lower than before, so that they have begun anew."""
        if self.bounds != before.bounds:
            return True
        return any(now < then for now, then in zip(self.counts, before.counts, strict=True))

    def since(self, before: Counts) -> Counts:
        """What came since then; all there is where they have begun anew."""
        if self.fell_from(before):
            return self
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Counts(self.bounds, counts, max(self.total - before.total, 0.0))

    def plus(self, other: Counts) -> Counts:
        """Both together; of other buckets, those of the second alone."""
        if not self.bounds:
            return other
        if not other.bounds:
            return self
        if self.bounds != other.bounds:
            return other
        counts = tuple(one + two for one, two in zip(self.counts, other.counts, strict=True))
        return Counts(self.bounds, counts, self.total + other.total)


def summed(several: Iterable[Counts]) -> Counts:
    """All of them together."""
    found = Counts()
    for one in several:
        found = found.plus(one)
    return found
