"""Requests that are let in though a miss is predicted, where that is but a guess. Pure.

A shape that warm-up did not have is guessed until it has run. Were whatever is guessed to be late
refused, it would never run where a machine is never idle, and the guess never be put right. Nor
would what was known of one long ago.
"""

from __future__ import annotations

from collections.abc import Iterable

from headrace.scheduler.batch import Batch
from headrace.scheduler.latency import LatencyModel
from headrace.scheduler.queue import Entry

# After so many refusals by guesses one is let in: what it takes may make others late.
_REFUSALS = 16


class Probes:
    """Of one served version, one at a time."""

    def __init__(self, latency: LatencyModel) -> None:
        self._latency = latency
        self._refused = 0
        self.entry: Entry | None = None
        """The last that was let in, until its batch has ended."""

    def refused(self, elements: int) -> None:
        """Count a refusal.

        Those by guesses are counted together: clients may send hundreds of shapes, and one that has
        run corrects the guesses beside it.
        """
        self._refused += self._latency.is_young(elements)
        self._latency.refused(elements)

    def is_due(self, elements: int, running: Iterable[Batch]) -> bool:
        """Whether one of this shape may be let in now, with these batches running."""
        guessed = self._refused >= _REFUSALS and self._latency.is_young(elements)
        if not guessed and not self._latency.is_stale(elements):
            return False
        last = self.entry
        return last is None or not (last.waiting or any(last in one.entries for one in running))

    def ended(self, batch: Batch) -> bool:
        """A batch has ended, one way or another; return whether the one let in was in it."""
        if self.entry is None or self.entry not in batch.entries:
            return False
        self.entry = None
        return True

    def gone(self, entry: Entry) -> None:
        """An entry waits no more, and will not run."""
        if self.entry is entry:
            self.entry = None

    def send(self, entry: Entry) -> None:
        """Let this one in."""
        self._refused = 0
        self.entry = entry
