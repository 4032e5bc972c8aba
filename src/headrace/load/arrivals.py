"""When to send: arrival plans made before the run, so that no answer can move a request.

Pure: a seed in, a plan out; the same seed gives the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
"""Seconds since the start of the run."""

BURST_S, CALM_S = 0.2, 0.8
"""How long a burst and a calm last on average, where nobody says it."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Intended send times in order, within ``[0, duration_s)``; the array cannot be written to.

    A recorded trace is a plan too: make one from its times.
    """

    times_s: Times
    duration_s: float

    def __post_init__(self) -> None:
        times_s = np.array(self.times_s, np.float64)
        if times_s.ndim != 1:
            raise ValueError("send times are one list")
        if not np.all(np.diff(times_s) >= 0):
            raise ValueError("send times must be in order")
        if times_s.size and not 0 <= times_s[0] <= times_s[-1] < self.duration_s:
            raise ValueError(f"send times lie within 0 and the duration of {self.duration_s:g} s")
        times_s.flags.writeable = False
        object.__setattr__(self, "times_s", times_s)

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def rate(self) -> float:
        """Requests per second, as planned."""
        return len(self.times_s) / self.duration_s


def constant(rate: float, duration_s: float) -> Arrivals:
    """Plan requests at equal distances."""
    _check(rate, duration_s)
    count = int(np.ceil(rate * duration_s - 1e-9))
    return Arrivals(np.arange(count) / rate, duration_s)


def poisson(rate: float, duration_s: float, seed: int) -> Arrivals:
    """Plan requests of many independent clients: exponential gaps."""
    _check(rate, duration_s)
    random = np.random.default_rng(seed)
    return Arrivals(_unit_poisson(rate * duration_s, random) / rate, duration_s)


def bursts(
    rate: float,
    duration_s: float,
    seed: int,
    *,
    factor: float = 4.0,
    burst_s: float = BURST_S,
    calm_s: float = CALM_S,
) -> Arrivals:
    """Plan Poisson arrivals whose rate jumps by ``factor`` and back: a two-state MMPP.

    ``burst_s`` and ``calm_s`` are the mean lengths of the two states (exponential), in all of the
    plan together: each has its part of any duration, and ``rate`` is the mean of every plan. One
    that is shorter than a burst and a calm has one of each, as much shorter.
    """
    _check(rate, duration_s)
    if not (factor >= 1 and burst_s > 0 and calm_s > 0):
        raise ValueError("a burst is at least as fast as the calm, and both last for a while")
    random = np.random.default_rng(seed)
    due = _unit_poisson(rate * duration_s, random)
    edges_s, bursting = _states(duration_s, random, burst_s=burst_s, calm_s=calm_s)
    calm_rate = rate * (burst_s + calm_s) / (factor * burst_s + calm_s)
    rates = np.where(bursting, factor * calm_rate, calm_rate)
    # A Poisson process of rate 1, read on the clock of the expected count, has the wanted rates.
    expected = np.concatenate(([0.0], np.cumsum(rates * np.diff(edges_s))))
    times_s = np.interp(due, expected, edges_s)
    # Interpolation may round the last one up to the end itself.
    return Arrivals(times_s[times_s < duration_s], duration_s)


def _check(rate: float, duration_s: float) -> None:
    if not (0 < rate < np.inf and 0 < duration_s < np.inf):
        raise ValueError(f"a plan needs a rate and a duration, not {rate:g}/s for {duration_s:g} s")


def _unit_poisson(duration: float, random: np.random.Generator) -> Times:
    """Arrivals of rate 1: their number is Poisson, and given it they lie uniformly."""
    return np.sort(random.uniform(0.0, duration, random.poisson(duration)))


def _states(
    duration_s: float, random: np.random.Generator, *, burst_s: float, calm_s: float
) -> tuple[Times, NDArray[np.bool_]]:
    """Draw the edges of the states, from 0 to the duration, and which of them are bursts.

    Their number and the sum of their lengths are given, the lengths by chance. They stand in a
    ring, which begins anywhere: the state that is cut there is the first, and the last.
    """
    cycle_s = burst_s + calm_s
    lengths_s = random.exponential(size=(max(1, round(duration_s / cycle_s)), 2))
    shares = np.array([burst_s, calm_s]) / cycle_s
    ends_s = np.cumsum(lengths_s * (duration_s * shares / lengths_s.sum(axis=0)))
    ends_s[-1] = duration_s
    bursting = np.arange(len(ends_s)) % 2 == 0
    begin_s = random.uniform(0.0, duration_s)
    first = int(np.searchsorted(ends_s[:-1], begin_s, side="right"))
    before_s, after_s = ends_s[:first] + (duration_s - begin_s), ends_s[first:] - begin_s
    edges_s = np.concatenate(([0.0], after_s, before_s, [duration_s]))
    states = np.concatenate((bursting[first:], bursting[: first + 1]))
    return np.minimum(edges_s, duration_s), states
