"""A mean of a few runs, and how far it may be off: pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Student's t: 97.5 % of its mass is below this, by degrees of freedom; then as the normal law.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
_T_MANY = 1.96


def student_t(degrees: int) -> float:
    """How many standard errors a two-sided interval of 95 % reaches to each side."""
    if degrees < 1:
        raise ValueError("an interval needs at least one degree of freedom")
    return _T[degrees - 1] if degrees <= len(_T) else _T_MANY + 2.4 / degrees


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and the half width of its interval of 95 %; None of a single value."""

    mean: float
    off_by: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate the mean that independent values have."""
        mean = statistics.fmean(values)
        if len(values) < 2:  # noqa: PLR2004 - one value says nothing of its spread
            return cls(mean, None)
        error = statistics.stdev(values) / math.sqrt(len(values))
        return cls(mean, student_t(len(values) - 1) * error)

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.mean * factor, None if self.off_by is None else self.off_by * factor)

    def document(self, digits: int = 3) -> dict[str, Any]:
        """As JSON."""
        off_by = None if self.off_by is None else round(self.off_by, digits)
        return {"mean": round(self.mean, digits), "off_by": off_by}
