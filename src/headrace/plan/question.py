"""What is to be planned: frozen values, right once made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

LOADS = (0.3, 0.6, 0.8, 0.95)
SEEDS = 5
IN_TIME = 0.99
"""So many of all requests must be answered in time: what a p99 within the objective means when who
is refused counts as late."""

MOST_LOAD = 2.0
"""Past twice the limit all is alike."""

_MOST_SEEDS = 100


class Kind(Enum):
    """How requests come."""

    POISSON = "poisson"
    """Of many clients that know nothing of each other."""

    BURSTS = "bursts"
    """The same, with four times the rate for a fifth of the time (0.2 s on average)."""


@dataclass(frozen=True, slots=True)
class Question:
    """The objective, the lanes, what requests are like, and how well to look.

    ``loads`` are shares of the highest rate inside the objective; ``rate_rps`` is one to serve.
    """

    instances: int
    slo_s: float | None
    elements: int
    rows: int = 1
    kind: Kind = Kind.POISSON
    loads: tuple[float, ...] = LOADS
    rate_rps: float | None = None
    seeds: int = SEEDS

    def __post_init__(self) -> None:
        if self.instances < 1 or self.rows < 1:
            raise ValueError("instances and rows must be at least 1")
        if not 1 <= self.seeds <= _MOST_SEEDS:
            raise ValueError(f"seeds must be from 1 to {_MOST_SEEDS}, not {self.seeds}")
        if not all(0 < load <= MOST_LOAD for load in self.loads):
            raise ValueError(f"loads must be over 0 and at most {MOST_LOAD:g}")
        if self.elements < 0:
            raise ValueError(f"elements must be at least 0, not {self.elements}")
        if self.slo_s is not None and not 0 < self.slo_s < math.inf:
            raise ValueError("the objective must be more than 0, and a number")
        if self.rate_rps is not None and not 0 < self.rate_rps < math.inf:
            raise ValueError("the rate must be more than 0, and a number")
