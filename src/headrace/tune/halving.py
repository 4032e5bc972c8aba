"""Successive halving: who is raced how long, who goes on, and what can be told apart. Pure.

All that are left are driven in turns, A B C C B A: a machine that drifts drifts for all. What
counts is the answers in time a second at a rate that none can hold. Two whose difference is within
3 %, or within its interval, are not ranked: the cheaper one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from headrace.load.pairs import Difference, differ
from headrace.tune.space import Candidate

T = TypeVar("T")

TELLABLE = 0.03
"""Nearer than this no two are ranked, whatever the intervals say."""

FAR = 0.85
"""So far behind is no noise: in a forecast, or of two slices each, of which no interval is made."""


WARM_SHARE = 0.15
"""Of a slice, before it and not counted: until a queue is as long as it will be."""

# A slice has so many requests at least, and lasts so long at most.
_LEAST_REQUESTS, _LONGEST_S = 15, 5.0


class Rung(NamedTuple):
    """So many are driven, in so many blocks of two slices each."""

    keep: int
    blocks: int
    slice_s: float

    @property
    def slices(self) -> int:
        """Of each."""
        return 2 * self.blocks


# From generous to frugal: the first that fits the time is taken.
_PLANS: tuple[tuple[Rung, ...], ...] = (
    (Rung(8, 1, 1.0), Rung(4, 2, 1.25), Rung(2, 3, 2.5)),
    (Rung(6, 1, 1.0), Rung(3, 2, 1.25), Rung(2, 3, 1.5)),
    (Rung(4, 1, 1.0), Rung(2, 3, 1.5)),
    (Rung(3, 1, 0.8), Rung(2, 3, 0.8)),
    (Rung(1, 3, 0.6),),
    (Rung(1, 1, 0.5),),
)


@dataclass(frozen=True, slots=True)
class Costs:
    """What time goes for: a start of a server, and what passes besides the load of a slice.

    ``slowest_rps`` is the rate that the slowest is driven at.
    """

    start_s: float
    besides_s: float
    slowest_rps: float = math.inf


def plan(entrants: int, left_s: float, costs: Costs) -> tuple[Rung, ...]:
    """The rungs for so many (the untuned one runs beside them): the most that fit the time.

    The last are returned in any case: it is only a guess what they take.
    """
    fitted = [_fitted(rungs, entrants) for rungs in _PLANS]
    return next((one for one in fitted if cost_s(one, costs) <= left_s), fitted[-1])


def cost_s(rungs: Sequence[Rung], costs: Costs) -> float:
    """How long rungs take, with one beside each that is always there, and runs already."""
    driven = sum(
        (rung.keep + 1)
        * rung.slices
        * ((1 + WARM_SHARE) * stretched_s(rung.slice_s, costs.slowest_rps) + costs.besides_s)
        for rung in rungs
    )
    started = rungs[0].keep * costs.start_s if rungs else 0.0
    return driven + started


def stretched_s(slice_s: float, rate_rps: float) -> float:
    """How long a slice lasts at a rate: of slow models longer, for a few requests say nothing."""
    return min(max(slice_s, _LEAST_REQUESTS / rate_rps), _LONGEST_S)


def _fitted(rungs: Sequence[Rung], entrants: int) -> tuple[Rung, ...]:
    """The rungs in which somebody can lose, for so few, and the last."""
    most = [rung._replace(keep=min(rung.keep, entrants)) for rung in rungs]
    return tuple(
        rung
        for place, rung in enumerate(most)
        if place + 1 == len(most) or rung.keep > most[place + 1].keep
    )


def turns(who: Sequence[T], blocks: int) -> Iterator[T]:
    """Who is driven when: in each block forth and back."""
    for _ in range(blocks):
        yield from who
        yield from reversed(who)


def survivors(
    worth: Mapping[Candidate, float], keep: int, always: Candidate
) -> tuple[Candidate, ...]:
    """The best ``keep``, and the one that is always there."""
    others = [one for one in worth if one != always]
    best = sorted(others, key=lambda one: (-worth[one], one.cost))[:keep]
    return (*best, always)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Who wins.

    ``winner`` is the cheapest of the ``tied``, which cannot be told from the ``first``: the one
    with most. ``behind`` are the others that were in the last rung, with how far behind they are.
    """

    winner: Candidate
    first: Candidate
    tied: tuple[Candidate, ...]
    behind: Mapping[Candidate, Difference | None]


def rank(
    slices: Mapping[Candidate, Sequence[float]],
    prefer: Candidate | None,
    hoped: Mapping[Candidate, float],
) -> Ranking:
    """Rank by what each slice was worth; of what is tied ``prefer``, else the cheapest.

    ``hoped`` is what the forecast is worth: who is far behind by race and forecast together, and is
    tied only because the race was noisy, is not taken.
    """
    means = {one: math.fsum(worth) / len(worth) for one, worth in slices.items()}
    first = max(means, key=lambda one: (means[one], one == prefer))
    tied, behind = [first], dict[Candidate, Difference | None]()
    for one in slices:
        if one == first:
            continue
        difference = differ(slices[first], slices[one])
        if is_told(difference, means[one], means[first]):
            behind[one] = difference
        else:
            tied.append(one)
    both = {one: likely_worth(means[one], hoped[one]) for one in tied}
    likely = [one for one in tied if both[one] >= FAR * max(both.values())]
    # A cap costs nothing: of two that differ only in that, what seems to do more.
    winner = min(
        likely,
        key=lambda one: (one != prefer, replace(one, max_batch=1).cost, -both[one], one.max_batch),
    )
    return Ranking(winner, first, tuple(tied), behind)


def likely_worth(raced: float, hoped: float) -> float:
    """Of two that are both noisy neither alone: the race sees its moment, the forecast another."""
    return math.sqrt(raced * hoped)


def is_told(difference: Difference | None, mean: float, best: float) -> bool:
    """Whether one is behind by more than noise; of too few slices only what is far behind is."""
    if difference is None:
        return mean < FAR * best
    return difference.high < 0 and difference.share < -TELLABLE
