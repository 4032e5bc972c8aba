"""The largest batch worth running, and what it takes; remembered until a run ends. Pure."""

from __future__ import annotations

from typing import NamedTuple

from headrace.scheduler.batch import Policy
from headrace.scheduler.lanes import Lanes
from headrace.scheduler.latency import LatencyModel

# The end of the run before is as uncertain as that of the run itself. Such errors add up as squares
# do, so the margin of whatever waits for a lane is larger by this share of it: √2 - 1.
WAITING_MARGIN = 0.4
# Predictions kept between two completions; clients may send any shape.
_KEPT = 256


class Full(NamedTuple):
    """The largest batch worth running: its rows, how long it takes, and the margin in that."""

    rows: int
    expected_s: float
    bound_s: float

    @property
    def waiting_margin_s(self) -> float:
        """What the margin is larger by when it has waited for a lane."""
        return WAITING_MARGIN * (self.bound_s - self.expected_s)


class Caps:
    """The caps of one version, by the elements of a row."""

    def __init__(self, policy: Policy, latency: LatencyModel, lanes: Lanes) -> None:
        self._policy = policy
        self._latency = latency
        self._lanes = lanes
        self.known: dict[int, Full] = {}
        """Those found since a run has ended."""

    def find(self, elements: int, allowance_s: float) -> Full:
        """Find one: the knee, or what the objective, or those of other models, allow."""
        latency, turn = self._latency, self._lanes.turn
        longest_s = self._longest_s(allowance_s, self._lanes.worth)
        rows = min(latency.knee(elements, longest_s), self._policy.max_batch)
        if turn is not None:
            rows = max(min(rows, latency.fitting(elements, turn.longest_s)), 1)
        full = Full(rows, latency.expect(elements, rows), latency.bound(elements, rows))
        if len(self.known) >= _KEPT:
            self.known.clear()
        self.known[elements] = full
        return full

    def try_larger(self, elements: int, cap: int, least: int, allowance_s: float) -> int:
        """What to try instead of this cap, so many rows at least; or the cap.

        Nothing is tried past what bounds the cap.
        """
        latency, turn = self._latency, self._lanes.turn
        limit_s = self._longest_s(allowance_s, self._lanes.worth)
        if turn is not None:
            longest_s = turn.longest_s / latency.tail
            limit_s = longest_s if limit_s is None else min(limit_s, longest_s)
        larger = latency.try_larger(elements, cap, limit_s, least=least)
        return larger if larger <= self._policy.max_batch else cap

    def largest(self, allowance_s: float) -> tuple[int, int] | None:
        """The largest of all shapes that have run, were no others here: its elements and rows."""
        knees = self._latency.knees(self._longest_s(allowance_s, self._lanes.count))
        if not knees:
            return None
        elements = max(knees, key=knees.__getitem__)
        return elements, min(knees[elements], self._policy.max_batch)

    def _longest_s(self, allowance_s: float, worth: float) -> float | None:
        """The longest run that leaves room in the objective for who has just missed a batch.

        It waits for the next lane to be free, and the lanes are in turn; then it runs.
        """
        slo_s = self._policy.slo_s
        if slo_s is None:
            return None
        return (slo_s - allowance_s) / (self._latency.tail + 1 / worth)
