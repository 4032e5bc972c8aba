"""The rule: earliest deadline first, work-conserving, predicted fit, sliding-window shedding.

Pure: time is an argument. Why this rule and not another: ``docs/design.md``. In short, on an
arrival refuse what would miss; whenever a lane can take a batch, take the largest that lets its
first entry meet its deadline, and when only a batch too small to keep up with the arrivals would,
drop that first entry instead and look at the next (Nexus, SOSP'19).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from headrace.errors import Expired, PredictedMiss, QueueFull
from headrace.scheduler.latency import LatencyModel
from headrace.scheduler.queue import Drop, DropReason, Entry, Queue

# The window of the arrival rate: long enough for a steady figure, short enough for a burst.
_RATE_WINDOW_S = 0.5
_OVERHEAD_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Policy:
    """The fixed numbers of one model's scheduler.

    ``slo_s``: the objective or None · ``lanes``: concurrent batches · ``depth``: batches a lane may
    hold, the running one included · ``lead_s``: how long before a lane frees its next batch is cut
    · ``results_s``: what answering takes after the run.
    """

    slo_s: float | None
    lanes: int
    max_queue: int
    max_batch: int
    depth: int = 2
    lead_s: float = 0.0005
    results_s: float = 0.0005


class Batch(NamedTuple):
    """Entries that run together."""

    id: int
    entries: tuple[Entry, ...]
    rows: int
    elements: int
    cut_s: float
    start_s: float
    expected_finish_s: float


class Statistics(NamedTuple):
    """What the scheduler holds now."""

    waiting: int
    waiting_rows: int
    running_batches: int
    arrival_rate_rps: float
    tail: float
    overhead_s: float


class Scheduler:
    """Admits, cuts and sheds for one served version; for one thread."""

    def __init__(self, policy: Policy, latency: LatencyModel) -> None:
        self._policy = policy
        self._latency = latency
        self._queue = Queue()
        self._running: dict[int, Batch] = {}
        self._paused = False
        self._batches = 0
        self._latest_deadline_s = -math.inf
        self._rate_rps = 0.0
        self._rate_at_s = 0.0
        self._overhead_s = 0.0

    # -- entries come ------------------------------------------------------------------------------

    def admit(self, entry: Entry, now: float) -> None:
        """Queue an entry.

        Raises:
            Expired: its deadline has passed.
            QueueFull: the queue is at its bound.
            PredictedMiss: it would finish after its deadline.
        """
        self._count(entry.rows, now)
        queue, deadline = self._queue, entry.deadline_s
        if deadline <= now:
            raise Expired("the deadline had passed when the request arrived")
        if queue.entries >= self._policy.max_queue:
            raise QueueFull(
                f"{queue.entries} requests wait already", retry_after_s=self._full_batch_s(entry)
            )
        if deadline != math.inf:
            if not self._paused and (queue.entries or self._running):
                self._refuse_a_miss(entry, now)
            self._latest_deadline_s = max(deadline, self._latest_deadline_s)
        queue.put(entry)

    def restore(self, entry: Entry) -> None:
        """Put back an entry whose engine died; it keeps its place and is not tested again."""
        self._queue.put(entry)

    def cancel(self, entry: Entry) -> bool:
        """Forget an entry; False when it no longer waits."""
        if not entry.waiting:
            return False
        self._queue.forget(entry)
        return True

    def drain(self) -> list[Entry]:
        """Take every waiting entry out."""
        entries = list(self._queue)
        for entry in entries:
            self._queue.forget(entry)
        return entries

    # -- batches go --------------------------------------------------------------------------------

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        """Take the next batch, if there is one to run now; call again until there is none.

        The drops are entries that left the queue on the way.
        """
        drops: list[Drop] = []
        while (head := self._queue.first()) is not None:
            if head.deadline_s <= now:
                self._drop(head, DropReason.EXPIRED, drops)
                continue
            if self._paused:
                break
            start = self._start(now)
            if start is None:
                break
            cap = self._cap(head.elements)
            waiting = self._queue.rows_of(head.bucket)
            if start > now + self._policy.lead_s and waiting < cap:
                break  # a lane is busy for some time yet: more may join until then
            rows = self._fit(head, min(max(waiting, head.rows), max(cap, head.rows)), start)
            if rows == 0:
                self._drop(head, DropReason.SHED, drops)
                continue
            return self._make(head, rows, now, start), drops
        return None, drops

    def finish(self, batch_id: int, now: float, infer_s: float | None) -> None:
        """A batch has ended; ``infer_s`` is its run time, None when it failed or was lost."""
        batch = self._running.pop(batch_id)
        if infer_s is None:
            return
        self._latency.observe(batch.elements, batch.rows, infer_s)
        if batch.start_s <= batch.cut_s:
            extra = min(max(now - batch.cut_s - infer_s, 0.0), 0.05)
            self._overhead_s += _OVERHEAD_STEP * (extra - self._overhead_s)

    def pause(self) -> None:
        """Cut nothing more; entries may come, and expire."""
        self._paused = True

    def resume(self) -> None:
        """Cut again."""
        self._paused = False

    def wake_at(self, now: float) -> float | None:
        """When ``cut`` may do something by the clock alone; None: not before something happens."""
        head = self._queue.first()
        if head is None:
            return None
        at = head.deadline_s
        policy = self._policy
        if not self._paused and policy.lanes <= len(self._running) < policy.lanes * policy.depth:
            start = self._start(now)
            if start is not None:
                at = min(at, start - policy.lead_s)
        return None if at == math.inf else max(at, now)

    def statistics(self) -> Statistics:
        """What it holds now."""
        return Statistics(
            self._queue.entries,
            self._queue.rows,
            len(self._running),
            self._rate_rps,
            self._latency.tail,
            self._overhead_s,
        )

    # -- predictions -------------------------------------------------------------------------------

    def _refuse_a_miss(self, entry: Entry, now: float) -> None:
        ahead = self._queue.rows
        if entry.deadline_s < self._latest_deadline_s:
            ahead = sum(e.rows for e in self._queue if e.deadline_s <= entry.deadline_s)
        latency, elements = self._latency, entry.elements
        cap = self._cap(elements)
        whole, rest = divmod(ahead + entry.rows, cap)
        if rest == 0:
            whole, rest = whole - 1, cap
        finish = self._next_start(now) + latency.bound(elements, rest)
        if whole:
            finish += whole * latency.bound(elements, cap) / self._policy.lanes
        if finish + self._allowance_s() > entry.deadline_s:
            raise PredictedMiss(
                f"the answer would come {(finish - entry.deadline_s) * 1e3:.0f} ms too late",
                retry_after_s=self._full_batch_s(entry),
            )

    def _fit(self, head: Entry, rows: int, start: float) -> int:
        """How many rows to run with this head; 0: drop the head."""
        if head.deadline_s == math.inf:
            return rows
        latency, elements = self._latency, head.elements
        room = head.deadline_s - start - self._allowance_s()
        if latency.bound(elements, rows) <= room:
            return rows
        fitting = rows - 1
        while fitting >= head.rows and latency.bound(elements, fitting) > room:
            fitting -= 1
        if fitting >= head.rows:
            sustained = self._policy.lanes * fitting / max(latency.expect(elements, fitting), 1e-9)
            if sustained >= self._rate_rps:
                return fitting
        if not self._running and self._queue.entries == 1:
            return rows  # nobody else wants the machine: run it, and learn if the table is wrong
        return 0

    def _make(self, head: Entry, rows: int, now: float, start: float) -> Batch:
        entries = tuple(self._queue.take(head.bucket, rows))
        rows = sum([entry.rows for entry in entries])
        self._batches += 1
        finish = start + self._latency.expect(head.elements, rows) + self._overhead_s
        batch = Batch(self._batches, entries, rows, head.elements, now, start, finish)
        self._running[batch.id] = batch
        return batch

    def _start(self, now: float) -> float | None:
        """When a batch cut now would start; None when every lane holds all it may."""
        running = len(self._running)
        policy = self._policy
        if running < policy.lanes:
            return now
        if running >= policy.lanes * policy.depth:
            return None
        return self._next_start(now)

    def _next_start(self, now: float) -> float:
        """When a lane is free for one more batch, by the predicted ends of those that run."""
        busy = len(self._running) - self._policy.lanes
        if busy < 0:
            return now
        ends = sorted([batch.expected_finish_s for batch in self._running.values()])
        return max(ends[busy], now)

    def _cap(self, elements: int) -> int:
        return min(self._latency.knee(elements, self._policy.slo_s), self._policy.max_batch)

    def _allowance_s(self) -> float:
        return self._policy.results_s + self._overhead_s

    def _full_batch_s(self, entry: Entry) -> float:
        return self._latency.expect(entry.elements, self._cap(entry.elements))

    def _drop(self, entry: Entry, reason: DropReason, drops: list[Drop]) -> None:
        self._queue.forget(entry)
        drops.append(Drop(entry, reason))

    def _count(self, rows: int, now: float) -> None:
        gap = now - self._rate_at_s
        self._rate_at_s = now
        self._rate_rps = self._rate_rps * math.exp(-gap / _RATE_WINDOW_S) + rows / _RATE_WINDOW_S
