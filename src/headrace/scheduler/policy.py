"""The rule: earliest deadline first, work-conserving, predicted fit, sliding-window shedding.

Pure: time is an argument. Why this rule and not another: ``docs/scheduling.md``. In short, on an
arrival refuse what would miss; whenever a lane can take a batch, take the largest that lets its
first entry meet its deadline, and when only a batch too small to keep up with the arrivals would,
drop that first entry instead and look at the next (Nexus, SOSP'19).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from headrace.errors import Expired, HeadraceError, PredictedMiss, QueueFull
from headrace.scheduler.batch import Batch, Policy, Statistics
from headrace.scheduler.cap import WAITING_MARGIN
from headrace.scheduler.fairness import Turn
from headrace.scheduler.lanes import Lanes
from headrace.scheduler.latency import LatencyModel
from headrace.scheduler.ledger import Account, Ledger
from headrace.scheduler.notices import State
from headrace.scheduler.others import NOBODY, Others
from headrace.scheduler.outlook import Outlook
from headrace.scheduler.probes import Probes
from headrace.scheduler.queue import Drop, DropReason, Entry, Queue

# Who has this share of a device is taken to have all of it.
_WHOLE = 0.9


class Scheduler:
    """Admits, cuts and sheds for one served version; for one thread.

    ``turn`` is its place at a device that others may run on, too.
    """

    def __init__(self, policy: Policy, latency: LatencyModel, turn: Turn | None = None) -> None:
        self._policy = policy
        self._latency = latency
        self._queue = Queue()
        self._lanes = Lanes(policy.lanes, policy.depth, turn, policy.receivers)
        self._look: Callable[[], Others] | None = None
        self._running: dict[int, Batch] = {}
        self._ledger = Ledger()
        self._elements = 0  # of a row of the last batch
        self._outlook = Outlook(policy, self._queue, self._lanes, latency)
        self._probes = Probes(latency)
        self._paused = False
        self._suspect_runs = False
        self._batches = 0
        self._resized_s = -math.inf

    # -- entries come ------------------------------------------------------------------------------

    def is_idle(self, now: float) -> bool:
        """Whether nothing runs and nobody waits."""
        self._see(now)
        return not (self._running or self._queue.entries or self._lanes.held)

    def admit(self, entry: Entry, now: float, *, anyway: bool = False) -> Drop | None:
        """Queue an entry; ``anyway``: though a miss is predicted. Return who had to leave for it.

        Raises:
            Expired: its deadline has passed.
            QueueFull: the queue is at its bound, and nobody in it has a lower priority.
            PredictedMiss: it would finish after its deadline.
        """
        self._outlook.rate.counted += entry.rows
        if self._test(entry, now, anyway=anyway):
            self._probes.send(entry)
        last = self._queue.last() if self._queue.entries >= self._policy.max_queue else None
        if last is not None:
            self.cancel(last)
        self._queue.put(entry)
        return None if last is None else Drop(last, DropReason.DISPLACED, self._comes_back_s(last))

    def foresee(self, entry: Entry, now: float) -> None:
        """Refuse an entry whose beginning alone is here, as ``admit`` would were it whole now.

        It is counted if it is refused. Else it is not kept: it comes to ``admit`` when it is whole.

        Raises:
            OverloadError: as ``admit``.
        """
        try:
            self._test(entry, now)
        except HeadraceError:
            self._outlook.rate.counted += entry.rows
            raise

    def _test(self, entry: Entry, now: float, *, anyway: bool = False) -> bool:
        """Raise why an entry cannot be queued, if so; return whether it is to be a probe."""
        queue, deadline_s = self._queue, entry.deadline_s
        if deadline_s <= now:
            raise Expired("the deadline had passed when the request arrived")
        if queue.entries >= self._policy.max_queue and not queue.has_after(entry.priority):
            raise QueueFull(
                f"{queue.entries} requests wait already", retry_after_s=self._comes_back_s(entry)
            )
        if self.is_idle(now):
            # An idle machine refuses nobody: should the table be wrong, that is how it learns.
            self._outlook.rate.rps(now)
        elif deadline_s != math.inf and not self._paused and not anyway:
            return self._refuse_a_miss(entry, now)
        return False

    def _comes_back_s(self, entry: Entry) -> float:
        """When whoever is refused may find room."""
        return self._outlook.full(entry.elements).expected_s

    def _refuse_a_miss(self, entry: Entry, now: float) -> bool:
        """Refuse who would be late, but for a probe; return whether it is one."""
        late_s = self._outlook.lateness_s(entry, now)
        if late_s <= 0:
            return False
        if self._probes.is_due(entry.elements, self._running.values()):
            return True
        self._probes.refused(entry.elements)
        self._ledger.refused += entry.rows
        raise PredictedMiss(
            f"the answer would come {late_s * 1e3:.0f} ms too late",
            retry_after_s=self._comes_back_s(entry),
        )

    def restore(self, entry: Entry) -> None:
        """Put back an entry whose batch came to nothing; it keeps its place, and is not tested.

        One with ``attempts`` may be what its engine died of. In a bucket of its own, it will run
        while nothing else does, so that it takes nobody with it a second time.
        """
        self._queue.put(entry)

    def cancel(self, entry: Entry) -> bool:
        """Forget an entry; False when it no longer waits."""
        waited = self._queue.forget(entry)
        if waited:
            self._probes.gone(entry)
        return waited

    def drain(self) -> list[Entry]:
        """Take every waiting entry out."""
        entries = list(self._queue)
        for entry in entries:
            self.cancel(entry)
        return entries

    # -- batches go --------------------------------------------------------------------------------

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        """Take the next batch, if there is one to run now; call again until there is none.

        The drops are entries that left the queue on the way.
        """
        queue, lanes, turn = self._queue, self._lanes, self._lanes.turn
        self._see(now)
        drops = self._expired(now)
        while (head := queue.first()) is not None and not self._held(head):
            if self._policy.linger_s and now < self._lingers_until_s(head):
                break
            ahead = not lanes.open
            if ahead and lanes.full:
                break
            start_s = lanes.next_start(now)
            # A batch cut ahead is one that hurts nobody; else the lane's end is awaited.
            if ahead and now < self._ahead_s(head, start_s):
                break
            cap = self._outlook.most_rows(head)
            rows = self._outlook.try_larger(head, cap)
            if rows > cap and not self._fits_ahead(head, rows, start_s):
                rows = cap  # nobody is dropped, or waits, for a trial
            if ahead and not self._fits_ahead(head, rows, start_s):
                break
            if turn is not None and not self._may_start(turn, head, rows, now):
                return None, drops
            if not ahead and not (rows := self._fit(head, rows, now, start_s)):
                queue.forget(head)
                self._ledger.refused += head.rows
                drops.append(Drop(head, DropReason.SHED))
                continue
            return self._make(head, rows, now, start_s, cap), drops
        if turn is not None:
            turn.pass_by()
        return None, drops

    def _expired(self, now: float) -> list[Drop]:
        drops = [Drop(entry, DropReason.EXPIRED) for entry in self._queue.expired(now)]
        for drop in drops:
            self._probes.gone(drop.entry)
        return drops

    def finish(self, batch_id: int, now: float, infer_s: float | None) -> None:
        """A batch has ended; ``infer_s`` is its run time, None when it failed or was lost."""
        batch = self._running.pop(batch_id)
        probe = self._probes.ended(batch)
        waited = self._lanes.remove(batch_id, now, infer_s)
        company = self._ledger.ended(batch_id, now, self._lanes.count)
        self._suspect_runs = self._suspect_runs and bool(self._running)
        if infer_s is None:
            return
        alone_s = self._latency.alone(batch.elements, batch.rows)
        self._ledger.ran(company, alone_s, infer_s)
        late = sum([entry.rows for entry in batch.entries if entry.deadline_s < now])
        self._ledger.answered(batch.rows - late, late)
        if batch.cut_s >= self._resized_s:  # else it shared the machine with another number of runs
            self._latency.observe(
                batch.elements, batch.rows, infer_s, trial=batch.trial, probe=probe
            )
        self._outlook.handover.follow(now - batch.cut_s - infer_s, waited=waited)
        self._outlook.caps.known.clear()

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
        at_s, lanes = self._queue.expires_s, self._lanes
        if not self._held(head) and (lanes.open or not lanes.filled):
            ready_s = self._lingers_until_s(head) if self._policy.linger_s else -math.inf
            if not lanes.open:
                ready_s = max(ready_s, self._ahead_s(head, lanes.next_start(now)))
            if now < ready_s < at_s:  # else it was time already, and ``cut`` chose to wait
                at_s = ready_s
        turn = self._lanes.turn
        if turn is not None:
            at_s = min(at_s, turn.wake_s(now))
        return None if at_s == math.inf else max(at_s, now)

    def statistics(self) -> Statistics:
        """What it holds now."""
        turn = self._lanes.turn
        return Statistics(
            self._queue.entries,
            self._queue.rows,
            len(self._running),
            self._outlook.rate.latest_rps,
            self._latency.tail,
            self._outlook.overhead_s,
            1.0 if turn is None else turn.share,
        )

    # -- beside other receivers --------------------------------------------------------------------

    @property
    def shares(self) -> bool:
        """Whether its lanes are those of other receivers, too."""
        return self._policy.receivers > 1

    def beside(self, look: Callable[[], Others] | None, now: float) -> None:
        """Look at what other receivers have in the engine before each decision; None: no engine."""
        self._look = look
        self._lanes.see(NOBODY if look is None else look(), now)

    def _see(self, now: float) -> None:
        if self._look is not None:
            self._lanes.see(self._look(), now)

    # -- how many at a time ------------------------------------------------------------------------

    @property
    def lanes(self) -> int:
        """How many batches may run at a time."""
        return self._lanes.count

    @property
    def beside_others(self) -> bool:
        """Whether other models keep it from having the whole machine."""
        turn = self._lanes.turn
        return turn is not None and turn.share < _WHOLE

    def set_lanes(self, count: int, now: float, slower: float) -> None:
        """Have so many run at a time; until it is known, each is taken to be so much slower."""
        self._latency.renew(self._elements, self._outlook.full(self._elements).rows, slower)
        self._resize(count, now)

    def hold_lanes(self, count: int, now: float) -> None:
        """Have so many run for a moment, until ``release_lanes``: run times then are not learnt."""
        self._resize(count, now)
        self._resized_s = math.inf

    def release_lanes(self, count: int, now: float) -> None:
        """Have so many run again, as long each as before."""
        self._resize(count, now)

    def _resize(self, count: int, now: float) -> None:
        self._lanes.resize(count, now)
        self._resized_s = now
        self._outlook.caps.known.clear()

    def close_account(self, now: float) -> Account:
        """What has happened since the last time this was asked."""
        return self._ledger.close(now)

    def state(self) -> State:
        """How it is now, for who decides how many run at a time."""
        if not self._batches:
            return State(0, self._policy.max_batch, 0.0)
        full = self._outlook.full(self._elements)
        return State(self._elements, full.rows, full.bound_s)

    def kept_state(self) -> State:
        """How it is by all shapes that have run, and were no other models here, for the next start.

        Of the shape with the largest cap, as that bounds all of them.
        """
        largest = self._outlook.caps.largest(self._outlook.allowance_s)
        if largest is None:
            return self.state()
        return State(*largest, self._latency.bound(*largest))

    # -- which batch -------------------------------------------------------------------------------

    def _held(self, head: Entry) -> bool:
        """Whether it is not the time to run anything."""
        return self._paused or self._suspect_runs or bool(head.attempts and self._running)

    def _lingers_until_s(self, head: Entry) -> float:
        """Until when a batch with this head waits for more, though it could run; -inf: not at all.

        It leaves room for the largest batch to be in time. Where others wait for the lane, nobody
        keeps it free; and nobody waits for more where the queue takes no more.
        """
        if self._queue.entries >= self._policy.max_queue:
            return -math.inf
        line = self._queue.line(head.bucket)
        full = self._outlook.full(head.elements)
        if line is None or self._queue.buckets > 1 or line.rows >= full.rows:
            return -math.inf
        oldest_s = min([key[3].arrival_s for key in line.keys])
        earliest_s = min([key[1] for key in line.keys])
        room_s = full.bound_s + self._outlook.allowance_s + self._policy.full_lead_s
        return min(oldest_s + self._policy.linger_s, earliest_s - room_s)

    def _ahead_s(self, head: Entry, start_s: float) -> float:
        """When to cut the batch that starts then, for it to be ready when its lane is."""
        full = self._queue.rows_of(head.bucket) >= self._outlook.full(head.elements).rows
        lead_s = self._policy.full_lead_s if full else self._policy.lead_s
        return start_s - lead_s - self._outlook.overhead_s

    def _fits_ahead(self, head: Entry, rows: int, start_s: float) -> bool:
        """Whether so many rows would be in time for this head when they have waited for a lane."""
        bound_s = self._latency.bound(head.elements, rows)
        bound_s += WAITING_MARGIN * (bound_s - self._latency.expect(head.elements, rows))
        return start_s + bound_s + self._outlook.allowance_s <= head.deadline_s

    def _fit(self, head: Entry, rows: int, now: float, start_s: float) -> int:
        """How many rows to hand over now with this head, to run from then on; 0: drop the head."""
        if head.deadline_s == math.inf:
            return rows
        room_s = head.deadline_s - start_s - self._outlook.allowance_s
        bound_s = self._latency.bound(head.elements, rows)
        if bound_s <= room_s:
            return rows
        fitting = min(self._latency.fitting(head.elements, room_s), rows)
        if fitting >= head.rows and self._outlook.keeps_up(head.elements, fitting, now):
            return fitting
        if self._running or self._queue.entries > 1:
            return head.rows if head is self._probes.entry else 0
        # Nobody else wants the machine: run it, and learn if the table is wrong. But who would have
        # been in time, had it not waited for another model, says nothing of the table.
        waited = self._lanes.turn is not None and bound_s <= room_s + now - head.arrival_s
        return 0 if waited else rows

    def _may_start(self, turn: Turn, head: Entry, rows: int, now: float) -> bool:
        """Whether it is the turn of this model to run so many rows with this head."""
        bound_s = self._latency.bound(head.elements, rows)
        latest_s = head.deadline_s - self._outlook.allowance_s - bound_s
        return turn.may_start(now, bound_s, latest_s, ahead=not self._lanes.open)

    def _make(self, head: Entry, rows: int, now: float, start_s: float, cap: int) -> Batch:
        entries = tuple(self._queue.take(head.bucket, rows))
        rows = sum([entry.rows for entry in entries])
        expected_s = self._latency.expect(head.elements, rows)
        if self._lanes.idle:  # else its way to the engine is covered by the run before
            expected_s += self._outlook.overhead_s
        self._batches += 1
        number, elements, trial = self._batches, head.elements, rows > cap
        batch = Batch(number, entries, rows, elements, now, start_s, start_s + expected_s, trial)
        self._running[number] = batch
        self._suspect_runs = head.attempts > 0
        self._lanes.add(number, now, expected_s)
        self._ledger.started(number, now, self._lanes.count)
        self._elements = elements
        self._outlook.rate.rps(now)
        return batch
