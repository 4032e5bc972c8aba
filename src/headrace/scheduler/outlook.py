"""What is likely to happen: how large a batch may be, and when a newcomer would be answered. Pure.

It looks at the queue, the lanes and the table of run times, and changes none of them.
"""

from __future__ import annotations

from headrace.scheduler.batch import Policy
from headrace.scheduler.cap import Caps, Full
from headrace.scheduler.handover import Handover
from headrace.scheduler.lanes import Lanes
from headrace.scheduler.latency import LatencyModel
from headrace.scheduler.queue import Entry, Queue
from headrace.scheduler.rate import Rate

# The window of the arrival rate. An overload as long as an objective must be seen, for by then the
# queue is full of misses; a window of 0.5 s costs 5 % of goodput in the first seconds of each.
_LONGEST_WINDOW_S = 0.1
# So many buckets ahead of a newcomer are looked at; the others take as long on average.
_HEADS_LOOKED_AT = 16


class Outlook:
    """Of one served version."""

    def __init__(self, policy: Policy, queue: Queue, lanes: Lanes, latency: LatencyModel) -> None:
        self._results_s = policy.results_s
        self._queue = queue
        self._lanes = lanes
        self._latency = latency
        self.rate = Rate(min(policy.slo_s or _LONGEST_WINDOW_S, _LONGEST_WINDOW_S))
        self.caps = Caps(policy, latency, lanes)
        self.handover = Handover()

    @property
    def overhead_s(self) -> float:
        """What a batch was seen to take beyond its run."""
        return self.handover.seconds

    @property
    def allowance_s(self) -> float:
        """What answering takes besides the run."""
        return self._results_s + self.handover.seconds

    def full(self, elements: int) -> Full:
        """The cap, and what it takes."""
        return self.caps.known.get(elements) or self.caps.find(elements, self.allowance_s)

    def most_rows(self, head: Entry) -> int:
        """What runs with this head if time does not matter.

        All that its bucket has, up to the cap, though that overtakes the heads of other buckets:
        to stop at the first of those makes batches of one or two, and a sixth of the goodput.
        """
        cap = max(self.full(head.elements).rows, head.rows)
        return min(self._queue.rows_of(head.bucket), cap)

    def try_larger(self, head: Entry, rows: int) -> int:
        """What runs with this head instead of so many rows, its cap, when a larger one is tried."""
        line = self._queue.line(head.bucket)
        if line is None or line.rows <= rows or not self._latency.is_trial_due(head.elements):
            return rows
        past = line.rows_past(rows)  # a smaller size has room for no entry more
        larger = self.caps.try_larger(head.elements, rows, past, self.allowance_s)
        return min(larger, line.rows)

    def keeps_up(self, elements: int, rows: int, now: float) -> bool:
        """Whether batches of so many rows run as many rows as arrive."""
        arriving_rps = self.rate.rps(now)
        return self._lanes.worth * rows >= arriving_rps * self._latency.expect(elements, rows)

    def lateness_s(self, entry: Entry, now: float) -> float:
        """How much too late a newcomer would be answered; 0 or less: in time.

        The batches before its own are full. Its own has those that go before it, and whoever comes
        until it starts; should it be too large then, ``cut`` makes it smaller, but only as long as
        that keeps up with the arrivals.
        """
        latency, elements, full = self._latency, entry.elements, self.full(entry.elements)
        rows, start_s = self._place(entry, full, now)
        room_s = entry.deadline_s - start_s - self.allowance_s
        if start_s > now:
            room_s -= full.waiting_margin_s
        if rows <= full.rows and full.bound_s <= room_s:
            return 0.0
        joining = int(self.rate.rps(now) * self._share(entry) * (start_s - now))
        late_s = latency.bound(elements, max(min(rows + joining, full.rows), rows)) - room_s
        if late_s > 0:
            fitting = latency.fitting(elements, room_s)
            if fitting >= rows and self.keeps_up(elements, fitting, now):
                return 0.0
        return late_s

    def _place(self, entry: Entry, full: Full, now: float) -> tuple[int, float]:
        """How many rows a newcomer's batch would have with it as the last, and when it starts."""
        line, whole = self._queue.line(entry.bucket), 0
        ahead = 0 if line is None else line.rows_before(entry.priority, entry.deadline_s)
        if ahead and ahead + entry.rows > full.rows:
            whole, ahead = divmod(ahead, full.rows)
            if ahead and ahead + entry.rows > full.rows:
                whole, ahead = whole + 1, 0
        start_s = self._lanes.likely_start(now, whole, full.bound_s)
        if self._queue.buckets > (line is not None):
            start_s = self._after_other_buckets(entry, start_s)
        return ahead + entry.rows, start_s

    def _after_other_buckets(self, entry: Entry, start_s: float) -> float:
        """When a newcomer's bucket has its turn: after those whose heads go before its own."""
        before, heads = self._queue.heads_before(entry, _HEADS_LOOKED_AT)
        if not before:
            return start_s
        expected_s = [self._latency.expect(h.elements, self.most_rows(h)) for h in heads]
        mean_s = sum(expected_s) / len(expected_s)
        return start_s + before * mean_s / self._lanes.worth

    def _share(self, entry: Entry) -> float:
        """Which part of the arrivals is of a newcomer's bucket: as of what waits; all if none does.

        Of a bucket that nobody waits in the batch is small, and costs the others more than it
        serves: counted alone, rare shapes are let in and push out a fifth of all.
        """
        line = self._queue.line(entry.bucket)
        return 1.0 if line is None else line.rows / self._queue.rows
