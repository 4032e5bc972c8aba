"""What a tuning is asked for: the objective, the accuracy that may be lost, the time. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_TIME = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(us|ms|s|min|h)")
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_OBJECTIVE = re.compile(r"(?:p(\d+(?:\.\d+)?)\s*=\s*)?(.+)")
_LEAST_PERCENT, _MOST_PERCENT = 50.0, 99.9
_USUAL_PERCENT = 99.0
# Of a rate that is asked for, so much more must be held: for the moments in which more come.
SPARE = 1.2


@dataclass(frozen=True, slots=True)
class Objective:
    """So large a share of all requests is answered within so many seconds."""

    slo_s: float
    quantile: float = _USUAL_PERCENT / 100

    def __str__(self) -> str:
        return f"p{100 * self.quantile:g} within {1e3 * self.slo_s:g} ms"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    ``max_drop`` is the share of answers that may become worse, ``budget_s`` the time all of it may
    take, ``rate_rps`` a rate to serve (None: as high a one as can be had).
    """

    objective: Objective
    max_drop: float
    budget_s: float
    rate_rps: float | None = None

    def worth(self, rate_rps: float) -> float:
        """What a rate counts: past what is wanted, no more."""
        return rate_rps if self.rate_rps is None else min(rate_rps, SPARE * self.rate_rps)


def read_objective(text: str) -> Objective:
    """Read ``p99=50ms``, or ``50ms``.

    Raises:
        ValueError: it is neither; the message says what it should be.
    """
    found = _OBJECTIVE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} should be as p99=50ms")
    try:
        slo_s = read_time(found.group(2))
    except ValueError:
        raise ValueError(f"{text!r} should be as p99=50ms, with us, ms or s") from None
    percent = float(found.group(1) or _USUAL_PERCENT)
    if not _LEAST_PERCENT <= percent <= _MOST_PERCENT:
        raise ValueError(
            f"{text!r}: p{percent:g} should be from p{_LEAST_PERCENT:g} to p{_MOST_PERCENT:g}"
        )
    return Objective(slo_s, percent / 100)


def read_time(text: str) -> float:
    """Read a time with its unit, as seconds.

    Raises:
        ValueError: it has none, or is 0 or without an end.
    """
    found = _TIME.fullmatch(text.strip())
    seconds = 0.0 if found is None else float(found.group(1)) * _UNITS_S[found.group(2)]
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} should be a time with its unit, as 50ms, 30s or 4min")
    return seconds


def read_share(text: str) -> float:
    """Read ``0.5%``, or ``0.005``, as a share.

    Raises:
        ValueError: it is none from 0 to 100 %.
    """
    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} should be a share, as 0.5% or 0.005")
    return share
