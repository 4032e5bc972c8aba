"""Lanes that only pretend to run, on a machine that all of them share. Pure."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, cycle
from typing import NamedTuple

from headrace.scheduler.batch import Batch

Service = Callable[[int, int], float]
"""Elements of a row, rows of a batch → the seconds it runs on a lane that has the machine alone."""

Speed = Callable[[int], float]
"""How many lanes run → how fast each of them is; 1: as fast as alone."""

Active = Callable[[], int]
"""How many lanes may run now."""


def undisturbed(_lanes: int) -> float:
    """Lanes that do not slow each other down."""
    return 1.0


class Pace:
    """How fast lanes are: ``speed`` while so many run, whenever that is.

    And how fast the machine is from moment to moment, whatever runs: ``moments`` are stretches of
    time from 0 on, each so many seconds in which a run takes so many times longer. At their end
    they begin anew; without any the machine is always the same.
    """

    def __init__(
        self, speed: Speed = undisturbed, moments: Sequence[tuple[float, float]] = ()
    ) -> None:
        self.speed = speed
        self._times_s = [0.0, *accumulate(seconds for seconds, _ in moments)]
        self._works_s = [0.0, *accumulate(seconds / slower for seconds, slower in moments)]

    def worked_s(self, now: float) -> float:
        """What a lane that ran alone from 0 on has done by now."""
        return _across(self._times_s, self._works_s, now)

    def at_s(self, worked_s: float) -> float:
        """When it has done so much."""
        return _across(self._works_s, self._times_s, worked_s)


def _across(here: Sequence[float], there: Sequence[float], at: float) -> float:
    """The place on another scale; both go on as they began."""
    if len(here) == 1:
        return at
    rounds, at = divmod(at, here[-1])
    place = bisect_right(here, at, hi=len(here) - 1)
    part = (at - here[place - 1]) / (here[place] - here[place - 1])
    return rounds * there[-1] + there[place - 1] + part * (there[place] - there[place - 1])


STEADY = Pace()
"""A machine that is always the same, on which lanes do not slow each other down."""


def linear(alpha_s: float, beta_s: float, ratios: Sequence[float] = (1.0,)) -> Service:
    """Runs of alpha + beta times rows, each times the next ratio, of which there is no end."""
    ratio = cycle(ratios)

    def service(_elements: int, rows: int) -> float:
        return (alpha_s + beta_s * rows) * next(ratio)

    return service


class Ended(NamedTuple):
    """A run that has ended: whose, which batch, and how long it took."""

    model: int
    batch_id: int
    seconds: float


class Machine:
    """The lanes of one model or several, known by their numbers.

    They share it evenly: all that run are as fast as each other. So the run that ends first is the
    one with the least left to do, and what each has to do can be kept as a mark on one common scale
    of ``progress``: seconds of a lane that is alone.
    """

    def __init__(
        self,
        services: Sequence[Service],
        lanes: Sequence[int],
        active: Sequence[Active | None],
        pace: Pace,
    ) -> None:
        self._services = services
        self._active = active
        self._pace = pace
        self._worked_s = 0.0
        self._runs: list[tuple[float, int, int, float]] = []
        self._progress = 0.0
        self._now = 0.0
        self._each = 1.0
        self._running = [0] * len(lanes)
        self.lanes = lanes
        self.busy_s = [0.0] * len(lanes)

    def is_free(self, model: int) -> bool:
        """Whether a lane of this model has nothing to do."""
        active = self._active[model]
        most = self.lanes[model] if active is None else min(self.lanes[model], active())
        return self._running[model] < most

    def next_end_s(self) -> float:
        """When the next run ends, if nothing changes before."""
        if not self._runs:
            return math.inf
        left = self._runs[0][0] - self._progress
        if left <= 0:
            return self._now
        return max(self._pace.at_s(self._worked_s + left / self._each), self._now)

    def advance(self, now: float) -> None:
        """Let time pass."""
        passed_s, self._now = now - self._now, now
        before_s, self._worked_s = self._worked_s, self._pace.worked_s(now)
        self._progress += (self._worked_s - before_s) * self._each
        for model, running in enumerate(self._running):
            self.busy_s[model] += passed_s * running

    def start(self, model: int, batch: Batch) -> None:
        """Run a batch from now on."""
        mark = self._progress + self._services[model](batch.elements, batch.rows)
        heapq.heappush(self._runs, (mark, model, batch.id, self._now))
        self._running[model] += 1
        self._each = self._pace.speed(len(self._runs))

    def end(self) -> Ended:
        """Take the run that ends out."""
        _, model, batch_id, started_s = heapq.heappop(self._runs)
        self._running[model] -= 1
        self._each = self._pace.speed(len(self._runs)) if self._runs else 1.0
        return Ended(model, batch_id, self._now - started_s)
