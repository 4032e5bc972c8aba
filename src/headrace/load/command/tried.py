"""What a search for the highest rate came to: its tries, and the answer."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.load.search import Held, Search
from headrace.load.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Tried:
    """One try.

    Attributes:
        rate: requests a second.
        held: what it showed.
        kept: the share of requests that were answered in time.
        sender: the objective would have been kept, had the sender been punctual.
        given_up: it was ended early, for it was lost.
        verdict: its run.
    """

    rate: float
    held: Held
    kept: float
    sender: bool
    given_up: bool
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to; ``ended``: why it could not go on, as the server went away."""

    search: Search
    tries: tuple[Tried, ...]
    interrupted: bool = False
    ended: str | None = None

    @property
    def edges(self) -> tuple[float | None, float | None]:
        """The highest rate that is known to hold, and the lowest that fails."""
        return self.search.best, self.search.edges(self.search.tallies())[1]

    @property
    def is_at_least(self) -> bool:
        """Whether more may hold: above it nothing was tried, or the sender was what failed."""
        _, high = self.edges
        return high is None or any(one.sender for one in self.tries if one.rate == high)

    @property
    def failure(self) -> str | None:
        """Why there is no answer; None: there is."""
        best, _ = self.edges
        gone = (one.verdict.failure for one in self.tries if one.verdict.gone_s is not None)
        ended = next(gone, self.ended)
        if ended is not None:
            return ended
        if self.interrupted:
            return "interrupted: the search was not at its end"
        if self.search.is_cut_short:
            return f"ended after {len(self.tries)} tries, not sure yet: {self._so_far()}"
        if best is None:
            lowest = min((one.rate for one in self.tries), default=0.0)
            return f"no rate holds that was tried, down to {lowest:,.4g}/s"
        if self.is_at_least:
            return (
                f"at least {best:,.4g}/s holds: above it the sender was late, not the server; it "
                "needs a core of its own, or more --senders"
            )
        return None

    def _so_far(self) -> str:
        low, _ = self.search.edges(self.search.tallies())
        if low is None:
            return "no rate held that was tried"
        often = "at least twice" if low == self.search.best else "once"
        return f"{low:,.4g}/s held {often}"
