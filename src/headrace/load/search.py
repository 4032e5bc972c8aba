"""The search for the highest rate that holds: which rate to try next, from what was tried.

Pure. A rate is tried until it has held, or failed, so many times; what fails clearly need not be
tried again. From the first rate on the search doubles or halves until it has one
that holds and one that fails, then halves what lies between, and at the end tries both edges again:
one bad moment of a machine must not decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, Self


class Held(Enum):
    """What a try of a rate showed."""

    YES = "holds"
    NO = "fails"
    CLEARLY_NOT = "fails clearly"


class Try(NamedTuple):
    """One try."""

    rate: float
    held: Held


class Tally(NamedTuple):
    """What was seen of one rate."""

    held: int = 0
    failed: int = 0

    @property
    def majority(self) -> int:
        """Votes of the side that has more."""
        return max(self.held, self.failed)


@dataclass(frozen=True, slots=True)
class Search:
    """Where a search stands.

    Attributes:
        first: the rate to begin with.
        resolution: how far apart the edges may be at the end, as a share.
        confirmations: how often an edge must have held, or failed.
        lowest: below it nothing is tried. highest: above it nothing is tried.
        most_tries: the search ends with these, whatever is known then.
        tries: what was tried, in order.
    """

    first: float
    resolution: float = 0.03
    confirmations: int = 2
    lowest: float = 0.1
    highest: float = math.inf
    most_tries: int = 40
    tries: tuple[Try, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.first <= self.highest:
            raise ValueError("a search begins within its bounds, which are more than 0")
        if not (self.resolution > 0 and self.confirmations > 0 and self.most_tries > 0):
            raise ValueError("a search needs a resolution, confirmations and tries")

    def after(self, rate: float, held: Held) -> Self:
        """Return the search with another try made."""
        return replace(self, tries=(*self.tries, Try(rate, held)))

    @property
    def next_rate(self) -> float | None:
        """What to try next; None: the search is over."""
        return None if len(self.tries) >= self.most_tries else self._wanted()

    @property
    def is_cut_short(self) -> bool:
        """Whether it has had all its tries and is not at its end."""
        return len(self.tries) >= self.most_tries and self._wanted() is not None

    def _wanted(self) -> float | None:
        tallies = self.tallies()
        if not tallies:
            return self.first
        tied = [rate for rate, tally in tallies.items() if tally.held == tally.failed]
        if tied:
            return tied[0]
        low, high = self.edges(tallies)
        return self._between(low, high) or self._unsure(tallies, low, high)

    @property
    def best(self) -> float | None:
        """The highest rate that is known to hold; None: none is."""
        tallies = self.tallies()
        low, _ = self.edges(tallies)
        return None if low is None or tallies[low].held < self.confirmations else low

    def tallies(self) -> dict[float, Tally]:
        """Count what was seen of each rate."""
        found: dict[float, Tally] = {}
        for rate, held in self.tries:
            before = found.get(rate, Tally())
            if held is Held.YES:
                found[rate] = before._replace(held=before.held + 1)
            else:
                votes = 1 if held is Held.NO else self.confirmations
                found[rate] = before._replace(failed=before.failed + votes)
        return found

    def edges(self, tallies: dict[float, Tally]) -> tuple[float | None, float | None]:
        """The highest rate that holds with none that fails below it, and the lowest that fails."""
        high = min(
            (rate for rate, tally in tallies.items() if tally.failed > tally.held), default=None
        )
        below = (
            rate
            for rate, tally in tallies.items()
            if tally.held > tally.failed and (high is None or rate < high)
        )
        return max(below, default=None), high

    def _between(self, low: float | None, high: float | None) -> float | None:
        """A rate that was not tried, where the edges are too far apart or there is but one."""
        if high is None:
            if low is None or low >= self.highest:
                return None
            return min(2 * low, self.highest)
        if low is None:
            return max(high / 2, self.lowest) if high > self.lowest else None
        return math.sqrt(low * high) if high / low > 1 + self.resolution else None

    def _unsure(
        self, tallies: dict[float, Tally], low: float | None, high: float | None
    ) -> float | None:
        for edge in (low, high):
            if edge is not None and tallies[edge].majority < self.confirmations:
                return edge
        return None
