"""Whether more receivers would help where one is what limits, and what a race of them said. Pure.

A receiver has one thread. Another wants a core of its own beside those of the lanes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean

from headrace.load.pairs import differ
from headrace.plan.machine import Front, Machine
from headrace.tune.forecast import Forecast, bound
from headrace.tune.halving import is_told

FRONT_BUSY = 0.8
"""The receiver's one thread from here on makes requests wait for it, not for the lanes."""

# Of a request, where a receiver is not to be what limits.
_NO_TIME_S = 1e-9


@dataclass(frozen=True, slots=True)
class Shared:
    """Answers in time a second with one receiver and with ``count``, slice beside slice."""

    count: int
    alone_rps: tuple[float, ...]
    shared_rps: tuple[float, ...]

    @property
    def pays(self) -> bool:
        """Whether several do more, and by more than noise."""
        alone, shared = fmean(self.alone_rps), fmean(self.shared_rps)
        return is_told(differ(self.shared_rps, self.alone_rps), alone, shared)


def worth_trying(here: Machine, found: Forecast) -> int:
    """How many receivers would let the lanes do all they can; 1: no more than there is."""
    free = here.cores - found.candidate.cores
    if found.front_busy < FRONT_BUSY or free < 1 or not found.rate_rps:
        return 1
    lanes_rps = bound(replace(here, front=Front(_NO_TIME_S)))
    enough = math.ceil(lanes_rps * found.front_busy / found.rate_rps / FRONT_BUSY)
    return min(max(enough, 2), 1 + free)
