"""What the requests of one version took: by phase, and by priority and outcome.

Nearly all are answered well and of the normal priority: their moments are put down, one call for
each, and a thousand are counted at once. The others are counted one by one.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.observe.histogram import LATENCY, Histogram
from headrace.observe.moments import Moments
from headrace.observe.phases import Noted

PHASES = ("load", "receive", "decode", "queue", "results", "encode", "total")
"""Those of a request, in order; ``total``, of those answered, is from arrival to encoded answer."""

OTHER = -1000
"""The priority under which those are counted that are too many to have their own."""

# Clients name priorities. The normal one has its own, however late it comes.
_PRIORITIES = 16
_USUAL = (0, "ok")


class Requests:
    """Counts them; for one thread. ``failed_s`` is how long those took that were not answered."""

    __slots__ = ("_moments", "_phases", "_took", "failed_s")

    def __init__(self) -> None:
        self.failed_s = 0.0
        self._phases = {phase: Histogram() for phase in PHASES}
        self._took: dict[tuple[int, str], Histogram] = {}
        self._moments = Moments()

    @property
    def phases(self) -> Mapping[str, Histogram]:
        """The seconds of each phase, of the requests that came to its end."""
        self._count()
        return self._phases

    @property
    def took(self) -> Mapping[tuple[int, str], Histogram]:
        """The seconds from arrival to answer, by priority and outcome."""
        self._count()
        return self._took

    def ended(self, request: Noted, outcome: str, now_s: float) -> None:
        """Count a request that has ended just now.

        One that has no outputs and yet is ``ok`` was a question about the model.
        """
        arrival_s, received_s = request.arrival_s, request.received_s
        decoded_s, run, answered_s = request.decoded_s, request.run, request.answered_s
        special = request.priority or request.load_s or outcome != "ok"
        if answered_s and run is not None and not special:
            if self._moments.put(
                arrival_s, received_s, decoded_s, run.start_s, run.end_s, answered_s, now_s
            ):
                self._count()
            return
        phases, total_s = self._phases, request.load_s + now_s - arrival_s
        if request.load_s:
            phases["load"].observe(request.load_s)
        if decoded_s:
            phases["receive"].observe(received_s - arrival_s)
            phases["decode"].observe(decoded_s - received_s)
        if run is not None:
            phases["queue"].observe(run.start_s - decoded_s)
        if answered_s:
            if run is not None:
                phases["results"].observe(answered_s - run.end_s)
            phases["encode"].observe(now_s - answered_s)
        if answered_s or outcome != "ok":
            self._total(request.priority, outcome, total_s)

    def _total(self, priority: int, outcome: str, total_s: float) -> None:
        """Count all the time of one; who had its outputs and did not take them was not answered."""
        self._of(priority, outcome).observe(total_s)
        if outcome == "ok":
            self._phases["total"].observe(total_s)
        else:
            self.failed_s += total_s

    def _of(self, priority: int, outcome: str) -> Histogram:
        histogram = self._took.get((priority, outcome))
        if histogram is None:
            known = {named for named, _ in self._took}
            if priority and priority not in known and len(known) >= _PRIORITIES:
                priority = OTHER
            histogram = self._took.setdefault((priority, outcome), Histogram(LATENCY))
        return histogram

    def _count(self) -> None:
        """Count those that were put down."""
        moments = self._moments.take()
        if not len(moments):
            return
        arrival_s, received_s, decoded_s, start_s, end_s, answered_s, now_s = moments.T
        total_s = now_s - arrival_s
        for phase, seconds in (
            ("receive", received_s - arrival_s),
            ("decode", decoded_s - received_s),
            ("queue", start_s - decoded_s),
            ("results", answered_s - end_s),
            ("encode", now_s - answered_s),
            ("total", total_s),
        ):
            self._phases[phase].observe_all(seconds)
        self._of(*_USUAL).observe_all(total_s)
