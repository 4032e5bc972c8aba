"""Two of a kind, measured in turns, and what of their difference is more than noise.

Pure. A machine drifts, so A and B are measured in short slices in the order A B B A: within such a
block a drift in one direction falls on both alike. What counts is the ratio within each block, or
of rates, which may be 0, the difference; its interval over all blocks tells whether the two can be
told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

# Student's t for 95 %, two-sided, by degrees of freedom from 1; past the table it is normal.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.96
FEWEST_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """B against A: a ratio less one, and the interval that has the true one 19 times of 20."""

    share: float
    low: float
    high: float

    @property
    def is_told(self) -> bool:
        """Whether the two can be told apart."""
        return self.low > 0 or self.high < 0


def turns(blocks: int) -> Iterator[int]:
    """Who is measured when: 0 is A and 1 is B, four slices a block."""
    for _ in range(blocks):
        yield from (0, 1, 1, 0)


def differ(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Compare a number that was measured in each slice of A and of B, two of each a block.

    None: there are fewer than three blocks, or it was not measured, or was 0, in one of the slices.
    """
    if len(a) != len(b) or len(a) < 2 * FEWEST_BLOCKS or min(*a, *b) <= 0:
        return None
    if not all(map(math.isfinite, (*a, *b))):
        return None
    found = _interval([*map(math.log, a)], [*map(math.log, b)])
    return Difference(*map(math.expm1, found))


def differ_in_rate(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Compare a rate that was measured in each slice, and may have been 0 in some.

    None: there are fewer than three blocks, or all of A's are 0.
    """
    if len(a) != len(b) or len(a) < 2 * FEWEST_BLOCKS or not any(a):
        return None
    mean = fmean(a)
    return Difference(*(value / mean for value in _interval(a, b)))


def _interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """The mean over the blocks of B less A, and the ends of its interval."""
    blocks = [(b[n] + b[n + 1] - a[n] - a[n + 1]) / 2 for n in range(0, len(a) - 1, 2)]
    middle = fmean(blocks)
    half = student(len(blocks) - 1) * stdev(blocks) / math.sqrt(len(blocks))
    return middle, middle - half, middle + half


def student(freedom: int) -> float:
    """Student's t for a 95 % interval."""
    return _T[freedom - 1] if freedom <= len(_T) else _NORMAL
