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
    """What a search came to; ``gone``: how the server went away between two tries."""

    search: Search
    tries: tuple[Tried, ...]
    interrupted: bool = False
    gone: str | None = None

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
        gone = self.gone
        gone = next((one.verdict.failure for one in self.tries if one.verdict.gone_s), gone)
        if gone is not None:
            return gone
        if self.interrupted:
            return "interrupted: the search was not at its end"
        if best is None:
            lowest = min((one.rate for one in self.tries), default=0.0)
            return f"no rate holds that was tried, down to {lowest:,.4g}/s"
        if self.is_at_least:
            return (
                f"at least {best:,.4g}/s holds: above it the sender was late, not the server; it "
                "needs a core of its own, more --senders, or more --connections"
            )
        return None
