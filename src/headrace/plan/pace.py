"""How fast a machine is from moment to moment, as its runs told. Pure.

Machines stall, virtual ones above all: for some milliseconds nothing of what runs goes on, in no
lane, however many rows it has. One law for the times of runs has no such tail, and lanes that draw
from it stall one by one. So what was seen is kept by time, and drawn in stretches, whole: the
circular block bootstrap of Politis and Romano (1992).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from pydantic import PositiveFloat

from headrace.plan.seen import Ran
from headrace.values import Array

Trace = tuple[tuple[PositiveFloat, PositiveFloat], ...]
"""Times in which something ran, one after the other: seconds, and how many times longer than on
average runs took that were in them."""

# Stalls last for some milliseconds, and what neighbours do to a machine for seconds.
_STRETCH_S = 2.0
# Of what was seen a stretch is no more than this part: else all would be alike.
_MOST = 0.25
# Multiples of these fill a square evenly (Roberts 2018, "The unreasonable effectiveness of
# quasirandom sequences").
_EVENLY = np.array([0.7548776662466927, 0.5698402909980532])
# What was seen may be short: after so many of its stretches they come again.
_MOST_STRETCHES = 1000
# Runs that are put at so many places of a trace tell how long they are on average.
_PLACES, _ROUNDS = 512, 4


def traced(
    runs: Sequence[Ran], expect_s: Callable[[int], float], speed: Callable[[int], float]
) -> Trace:
    """See how fast the machine was; ``speed`` of each of so many lanes at once is reckoned off.

    A run of the mean length is as long as expected, on average.
    """
    runs = [one for one in runs if one.infer_s > 0]
    spans = [(one.ended_s - one.infer_s, one.ended_s) for one in runs]
    marks = sorted(
        [(began_s, True, number) for number, (began_s, _) in enumerate(spans)]
        + [(ended_s, False, number) for number, (_, ended_s) in enumerate(spans)]
    )
    # How long each would have run by itself, and what there was between each two marks.
    alone_s = [0.0] * len(runs)
    between: list[tuple[float, tuple[int, ...]]] = []
    running: set[int] = set()
    for (at_s, begins, number), (next_s, _, _) in pairwise(marks):
        (running.add if begins else running.discard)(number)
        if running and next_s > at_s:
            between.append((next_s - at_s, tuple(running)))
            for one in running:
                alone_s[one] += (next_s - at_s) * speed(len(running))
    slower = [took_s / expect_s(one.rows) for took_s, one in zip(alone_s, runs, strict=True)]
    seen = [(long_s, sum(slower[one] for one in them) / len(them)) for long_s, them in between]
    return _usual([one for one in seen if one[1] > 0], [expect_s(one.rows) for one in runs])


def _usual(seen: Sequence[tuple[float, float]], expected_s: Sequence[float]) -> Trace:
    """The same trace as of a machine on which a run of the mean length takes that on average."""
    if not seen:
        return ()
    seconds, slower = np.array(seen).T
    mean_s = float(np.mean(expected_s))
    for _ in range(_ROUNDS):
        slower = slower * mean_s / _run_s(seconds, slower, mean_s)
    told = zip(np.round(seconds, 6).tolist(), np.round(slower, 4).tolist(), strict=True)
    return tuple(one for one in told if min(one) > 0)


def _run_s(seconds: Array, slower: Array, work_s: float) -> float:
    """How long a run of so much work takes, on average over when it begins."""
    times_s, works_s = _marks(seconds), _marks(seconds / slower)
    begins_s = (np.arange(_PLACES) + 0.5) / _PLACES * times_s[-1]
    ends = np.interp(begins_s, times_s, works_s) + work_s
    rounds, rest = np.divmod(ends, works_s[-1])
    ended_s = rounds * times_s[-1] + np.interp(rest, works_s, times_s)
    return float(np.mean(ended_s - begins_s))


def drawn(seed: int, some: Trace, others: Trace, share: float, duration_s: float) -> Trace:
    """Stretches of two traces, for about so long; a ``share`` of them of the first.

    They are spread over both, with others seeds too, as evenly as can be: few of them are drawn,
    and by chance alone a machine could be slower by some per cent.
    """
    rings = [_Ring(trace) for trace in (some, others)]
    longest_s = min(ring.length_s for ring in rings if ring.length_s)
    stretch_s = min(_STRETCH_S, _MOST * longest_s)
    count = min(max(1, int(np.ceil(duration_s / stretch_s))), _MOST_STRETCHES)
    numbers = (seed * count + np.arange(1, count + 1))[:, None]
    stretches = [
        rings[int(which >= share)].cut(where, stretch_s)
        for where, which in np.modf(numbers * _EVENLY)[0].tolist()
    ]
    seconds, slower = np.concatenate(stretches, axis=1)
    return tuple(zip(seconds.tolist(), slower.tolist(), strict=True))


class _Ring:
    """A trace whose beginning follows its end."""

    def __init__(self, trace: Trace) -> None:
        seconds, self._slower = np.array([*trace, *trace]).reshape(-1, 2).T
        self._times_s = _marks(seconds)
        self.length_s = float(self._times_s[-1]) / 2

    def cut(self, where: float, long_s: float) -> Array:
        """So much of it, from a part of its length on."""
        begins_s = where * self.length_s
        ends_s = begins_s + long_s
        first = np.searchsorted(self._times_s, begins_s, side="right")
        last = np.searchsorted(self._times_s, ends_s)
        inner = self._times_s[first:last]
        seconds = np.diff(np.concatenate([[begins_s], inner, [ends_s]]))
        slower = self._slower[first - 1 : last]
        inside = seconds > 0
        return np.array([seconds[inside], slower[inside]])


def _marks(lengths: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(lengths)])
