"""The machine of a plan: how long runs take, and what a request costs besides. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np

from headrace.plan.chance import resampled
from headrace.plan.laws import Capacity, Curve, capacity
from headrace.plan.pace import Trace, drawn
from headrace.scheduler.known import Known, Learnt
from headrace.scheduler.policy import Scheduler
from headrace.scheduler.simulate import Pace, Service, Speed, undisturbed

# Of a normal law, 95 % and 98 % are below so many standard deviations.
_Z95, Z98 = 1.645, 2.054
# Runs drawn for a simulation, then again from the first: more than it has batches, as a rule.
_DRAWN = 4096
# What a request costs the receiver, measured on two cores: 29,000 small ones a second, and 2,300 of
# 602 kB. Elements are taken to have four bytes.
_SMALL_S = 35e-6
_ELEMENT_S = 4 * 0.7e-9
# From a client's send to its answer, without waiting and run, on a machine that does nothing else.
_WAY_S = 0.0004
# Nearer to all that somebody can do, what waits for it grows for minutes.
STEADY = 0.95
# Requests that come by chance leave pauses nearly up to full load, which callers that wait for
# their answers do not: so for long all is as in the middle. Of 12 loads at 26 to 113 % of the
# limits of two models medians were off by 10 % at most so, and by 17 % with a straight way.
_LATE_BEND = 0.5
# Engines are niced, not stopped: this share of the cores is theirs whatever the receiver does.
_LEAST_LEFT = 0.1


@dataclass(frozen=True, slots=True)
class Front:
    """What a request costs outside of the lanes.

    ``each_s`` is the time of a receiver's one thread that it takes, ``way_s`` what passes besides
    until its answer is there, ``cpu_s`` what it takes from the cores that engines run on: all of
    the receiver's threads, and the sender's where that is on the same machine. ``ways_s`` are the
    ways of some requests, one after the other, where they are known.
    """

    each_s: float
    way_s: float = _WAY_S
    cpu_s: float = 0.0
    ways_s: tuple[float, ...] = ()

    def drawn_s(self, seed: int, count: int) -> list[float]:
        """Ways of so many requests; another seed, other chances."""
        if not self.ways_s:
            return [self.way_s] * count
        return [*map(float, resampled(np.random.default_rng(seed), self.ways_s, count))]

    @classmethod
    def guessed(cls, elements: int, rows: int) -> Front:
        """Of requests of this size, where nothing was measured."""
        each_s = _SMALL_S + _ELEMENT_S * elements * rows
        return cls(each_s, cpu_s=each_s)


@dataclass(frozen=True, slots=True)
class Middle:
    """Runs at a load between idle and full, which neither one caller nor many show.

    Requests come there while another runs, and a kernel that wakes a lane, or the receiver, beside
    one that runs lets them share its core for a while, though another is free. ``slower`` is how
    many times longer runs take at ``rate_rps`` than is reckoned without that, ``spread`` that of
    their times; ``full_slower`` is how many at ``full_rps``: fewer than one where all of a model is
    in the caches as it is not after a pause. At rate 0 it is one. ``trace`` is how fast the machine
    was there, where that is known, and ``quiet_trace`` how it was at rate 0, where more runs are
    long. ``way_s`` is how much longer than alone requests there are on their way: the receiver
    shares the cores with runs.
    """

    rate_rps: float
    full_rps: float
    slower: float
    spread: float
    full_slower: float = 1.0
    trace: Trace = ()
    quiet_trace: Trace = ()
    way_s: float = 0.0

    def longer_s(self, rate_rps: float) -> float:
        """How much longer than alone requests are on their way at a rate."""
        return self.way_s * min(rate_rps / self.rate_rps, 1.0)

    def slower_at(self, rate_rps: float) -> float:
        """How many times longer runs take at a rate."""
        if rate_rps < self.rate_rps:
            return 1 + (self.slower - 1) * rate_rps / self.rate_rps
        return self.full_slower + (self.slower - self.full_slower) * self.left(rate_rps)

    def spread_at(self, rate_rps: float, full: float) -> float:
        """The spread of run times at a rate; ``full`` is that at full load."""
        return full + (self.spread - full) * self.left(rate_rps)

    def left(self, rate_rps: float) -> float:
        """The way from here to full load, as a part of that from the middle: 1 below it."""
        left = (self.full_rps - rate_rps) / (self.full_rps - self.rate_rps)
        return float(min(max(left, 0.0), 1.0) ** _LATE_BEND)


@dataclass(frozen=True, slots=True)
class Machine:
    """Lanes with a scheduler, the receiver in front of them, and the cores that all of it shares.

    ``speed`` is how fast a lane is while so many run, if each had its cores; ``spread`` the
    standard deviation of the logarithm of run times, ``trace`` how fast the machine was at full
    load, where that is known; ``stretch`` how many times longer runs are than warm-up said,
    ``middle`` how much more at loads that are neither none nor full. ``handover_s`` is what a batch
    takes besides its run. Of several receivers each has an equal part of the requests; that they
    see the lanes' work of others a moment late is not played.
    """

    known: Known
    elements: int
    front: Front
    spread: float
    cores: int
    threads: int
    speed: Speed = field(default=undisturbed)
    stretch: float = 1.0
    handover_s: float = 0.0
    receivers: int = 1
    middle: Middle | None = None
    trace: Trace = ()

    @property
    def lanes(self) -> int:
        """How many batches may run at once."""
        return self.known.lanes

    @property
    def receivers_rps(self) -> float:
        """How many requests a second the receivers can take, and go on taking."""
        return STEADY * self.receivers / self.front.each_s

    def cores_left(self, taken_cores: float) -> float:
        """What engines have of the cores while requests take so much of them."""
        return max(self.cores - taken_cores, _LEAST_LEFT * self.cores)

    def speed_at(self, rate_rps: float) -> Speed:
        """How fast a lane is while so many run, and this rate takes its part of the cores.

        The receiver goes first, as engines are niced; what it leaves is shared by those that run.
        """
        left = self.cores_left(rate_rps * self.front.cpu_s)
        slower = 1.0 if self.middle is None else self.middle.slower_at(rate_rps)
        return lambda running: (
            self.speed(running) * min(1.0, left / (running * self.threads)) / slower
        )

    def curve(self) -> Curve:
        """Rows → the median seconds of a run while all lanes run, and nothing else does."""
        latency, speed = self.known.latency(), self.speed_at(0.0)(self.lanes)
        if self.middle is not None:
            speed /= self.middle.full_slower
        return lambda rows: latency.expect(self.elements, rows) * self.stretch / speed

    def largest(self) -> int:
        """The largest batch the scheduler would cut: the knee, or what the objective allows."""
        known, latency = self.known, self.known.latency()
        limit_s = None if known.slo_s is None else known.slo_s / (latency.tail + 1 / known.lanes)
        return latency.knee(self.elements, limit_s)

    def capacity(self, largest: int, rows: int = 1) -> Capacity:
        """The most requests a second with batches up to a size, and that size.

        What the lanes could do alone, less what requests take from their cores; and no more than
        the receivers can.
        """
        sizes = [size for size in self.known.sizes if size <= largest] or self.known.sizes[:1]
        found = capacity(self.curve(), sizes, self.lanes)
        rate_rps, wanted = found.rate_rps / rows, self.lanes * self.threads
        if self.cores - rate_rps * self.front.cpu_s < wanted:
            rate_rps *= self.cores / (min(wanted, self.cores) + rate_rps * self.front.cpu_s)
        return Capacity(min(rate_rps, self.receivers / self.front.each_s), found.batch)

    def ways_s(self, seed: int, count: int, rate_rps: float) -> list[float]:
        """How long so many requests at a rate are on their way, besides their wait and run."""
        longer_s = 0.0 if self.middle is None else self.middle.longer_s(rate_rps)
        return [max(way_s + longer_s, 0.0) for way_s in self.front.drawn_s(seed, count)]

    def scheduler(self, rate_rps: float) -> Scheduler:
        """A scheduler as the server's, to which nothing has come yet.

        Where runs were looked at it begins with what they taught the server's.
        """
        if self.middle is None:
            return self.known.scheduler()
        slower = self.stretch / self.speed_at(rate_rps)(self.lanes)
        tail_ratio = math.exp(Z98 * self.middle.spread_at(rate_rps, self.spread))
        return self.known.scheduler(learnt=Learnt(slower, tail_ratio))

    def service(self, seed: int, rate_rps: float = 0.0) -> Service:
        """Run times of lanes, the next each time it is asked; another seed, other chances.

        Where it is known how fast the machine is from moment to moment there is no other chance.
        """
        latency, spread = self.known.latency(), self.spread
        if self._traces(rate_rps) is not None:
            spread = 0.0
        elif self.middle is not None:
            spread = self.middle.spread_at(rate_rps, spread)
        chance = np.exp(np.random.default_rng(seed).normal(0.0, spread, _DRAWN))
        ratios: Iterator[float] = cycle((self.stretch * chance).tolist())

        def run_s(elements: int, rows: int) -> float:
            return latency.expect(elements, rows) * next(ratios)

        return run_s

    def pace(self, seed: int, rate_rps: float, duration_s: float) -> Pace:
        """How fast lanes are at a rate, from moment to moment where that is known, for so long."""
        traces = self._traces(rate_rps)
        moments = () if traces is None else drawn(seed, *traces, duration_s)
        return Pace(self.speed_at(rate_rps), moments)

    def _traces(self, rate_rps: float) -> tuple[Trace, Trace, float] | None:
        """What a rate lies between, and how near it is to the first of them."""
        middle = self.middle
        if middle is None or not middle.trace or not self.trace:
            return None
        if middle.quiet_trace and rate_rps < middle.rate_rps:
            return middle.trace, middle.quiet_trace, rate_rps / middle.rate_rps
        return middle.trace, self.trace, middle.left(rate_rps)


def spread_of(pairs: Sequence[tuple[float, float]]) -> float:
    """The spread that medians and 95th percentiles tell, if run times are log-normal.

    The middle one of all sizes: each was measured on a few runs only.
    """
    ratios = [p95_s / median_s for median_s, p95_s in pairs if median_s > 0]
    return math.log(max(statistics.median(ratios), 1.0)) / _Z95 if ratios else 0.0
