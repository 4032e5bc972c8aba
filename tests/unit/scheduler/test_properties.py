"""What holds whatever happens: random lives of a scheduler, every step checked.

The world keeps its own books of who waits, runs and has been answered, by brute force.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import Expired, OverloadError, PredictedMiss, QueueFull
from headrace.scheduler import Batch, Drop, DropReason, Entry, LatencyModel, Policy, Scheduler

pytestmark = pytest.mark.slow

SIZES = (1, 2, 4, 8)
ELEMENTS = {"short": 10, "long": 40}
EPSILON_S = 1e-9


def run_s(elements: int, rows: int) -> float:
    return 0.002 + 0.0001 * rows * elements


# -- what may happen -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrive:
    """``glanced_at``: its beginning comes first."""

    rows: int
    timeout_s: float
    bucket: str
    priority: int
    glanced_at: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    which: int


@dataclass(frozen=True, slots=True)
class Complete:
    which: int
    factor: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The backend refuses a batch; its entries are tried alone."""

    which: int


@dataclass(frozen=True, slots=True)
class LoseEngine:
    """All that runs is lost; whoever was lost for the first time is put back."""


@dataclass(frozen=True, slots=True)
class Pause:
    pass


@dataclass(frozen=True, slots=True)
class Resume:
    pass


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Event = Arrive | Cancel | Complete | Fail | LoseEngine | Pause | Resume | Wait

arrivals = st.builds(
    Arrive,
    rows=st.sampled_from([1, 1, 1, 1, 2, 3, 5, 8]),
    timeout_s=st.sampled_from([0.05, 0.05, 0.02, 0.2, 0.004, 0.0, math.inf]),
    bucket=st.sampled_from(["short", "short", "long"]),
    priority=st.sampled_from([0, 0, 0, -1, 1]),
    glanced_at=st.booleans(),
)
kinds: dict[str, st.SearchStrategy[Event]] = {
    "arrive": arrivals,
    "wait": st.builds(Wait, st.floats(1e-6, 0.01)),
    "complete": st.builds(Complete, st.integers(0, 9), st.sampled_from([1.0, 1.0, 0.5, 0.9, 2.0])),
    "cancel": st.builds(Cancel, st.integers(0, 9)),
    "fail": st.builds(Fail, st.integers(0, 9)),
    "lose": st.just(LoseEngine()),
    "pause": st.just(Pause()),
    "resume": st.just(Resume()),
}
# Lives are mostly of arrivals, runs and time: what goes wrong is rare, and mended.
events = st.sampled_from(
    ["arrive"] * 12
    + ["wait"] * 5
    + ["complete"] * 6
    + ["resume", "resume", "cancel", "fail", "lose", "pause"]
).flatmap(kinds.__getitem__)
lives = st.lists(events, min_size=10, max_size=100)
policies = st.builds(
    Policy,
    slo_s=st.sampled_from([None, 0.05]),
    lanes=st.integers(1, 3),
    max_queue=st.sampled_from([30, 30, 8, 1]),
    max_batch=st.just(8),
    depth=st.integers(1, 2),
    linger_s=st.sampled_from([0.0, 0.0, 0.003, 0.02]),
)


# -- the world around the scheduler ----------------------------------------------------------------


class World:
    """Does what a receiver and its engine do, and checks every answer of the scheduler."""

    def __init__(self, policy: Policy, *, pads: bool) -> None:
        measured = [
            (e, b, run_s(e, b), 1.2 * run_s(e, b)) for e in ELEMENTS.values() for b in SIZES
        ]
        self.policy = policy
        self.latency = LatencyModel(measured, sizes=SIZES, pads=pads)
        self.scheduler = Scheduler(policy, self.latency)
        self.now = 100.0
        self.paused = False
        self.arrived: list[Entry] = []
        self.waiting: list[Entry] = []
        self.running: dict[int, Batch] = {}
        self.outcomes: dict[Entry, str] = {}
        self.left: dict[int, Entry] = {}
        """Who had to leave, by the number of who came."""

    # what happens

    def happen(self, event: Event) -> None:
        match event:
            case Arrive():
                self.arrive(event)
            case Cancel(which) if self.waiting:
                self.cancel(self.waiting[which % len(self.waiting)])
            case Complete() | Fail() if self.running:
                self.end_run(event)
            case LoseEngine():
                self.lose()
            case Pause() | Resume():
                self.hold(paused=isinstance(event, Pause))
            case Wait(seconds):
                self.wait(self.now + seconds)
        self.pump()

    def arrive(self, event: Arrive) -> None:
        deadline_s, elements = self.now + event.timeout_s, ELEMENTS[event.bucket]
        entry = Entry(deadline_s, event.rows, event.bucket, elements, self.now, event.priority)
        self.arrived.append(entry)
        full = len(self.waiting) >= self.policy.max_queue
        last = max(self.waiting, key=order, default=None)
        error = self.foreseen(entry) if event.glanced_at else None
        error = error or self.refusal(entry)
        assert isinstance(error, Expired) == (deadline_s <= self.now)
        if error is None:
            assert (entry.sequence in self.left) == full, "the bound is broken, or kept by too many"
            if full:
                assert last is not None
                assert self.left[entry.sequence] is last, "another than the last had to leave"
                assert last.priority > entry.priority, "an equal had to leave"
            self.waiting.append(entry)
            return
        assert not entry.waiting
        if isinstance(error, QueueFull):
            assert full
            assert last is not None
            assert last.priority <= entry.priority, "one that goes before others was refused"
        if isinstance(error, PredictedMiss):
            assert self.waiting or self.running, "refused by an idle machine"
            assert not self.paused
            assert deadline_s < math.inf
        self.settle(entry, error.code)

    def foreseen(self, entry: Entry) -> OverloadError | None:
        try:
            self.scheduler.foresee(entry, self.now)
        except OverloadError as error:
            return error
        finally:
            assert not entry.waiting
            self.check_books()
        return None

    def refusal(self, entry: Entry) -> OverloadError | None:
        try:
            left = self.scheduler.admit(entry, self.now)
        except OverloadError as error:
            return error
        if left is not None:
            assert left.reason is DropReason.DISPLACED
            self.left[entry.sequence] = left.entry
            self.waiting.remove(left.entry)
            self.settle(left.entry, left.reason.value)
        return None

    def hold(self, *, paused: bool) -> None:
        self.paused = paused
        if paused:
            self.scheduler.pause()
        else:
            self.scheduler.resume()

    def cancel(self, entry: Entry) -> None:
        assert self.scheduler.cancel(entry)
        assert not self.scheduler.cancel(entry)
        self.waiting.remove(entry)
        self.settle(entry, "cancelled")

    def end_run(self, event: Complete | Fail) -> None:
        """End one of those that run: an engine starts them as they were handed over."""
        started = list(self.running.values())[: self.policy.lanes]
        batch = started[event.which % len(started)]
        if isinstance(event, Complete):
            self.complete(batch, event.factor)
        else:
            self.fail(batch)

    def complete(self, batch: Batch, factor: float) -> None:
        del self.running[batch.id]
        self.scheduler.finish(batch.id, self.now, factor * run_s(batch.elements, batch.rows))
        for entry in batch.entries:
            self.settle(entry, "answered")

    def fail(self, batch: Batch) -> None:
        del self.running[batch.id]
        self.scheduler.finish(batch.id, self.now, None)
        for entry in batch.entries:
            if len(batch.entries) == 1:
                self.settle(entry, "failed")
            else:
                self.put_back(entry)

    def lose(self) -> None:
        batches, self.running = list(self.running.values()), {}
        for batch in batches:
            self.scheduler.finish(batch.id, self.now, None)
            for entry in batch.entries:
                if entry.attempts == 0:
                    entry.attempts = 1
                    self.put_back(entry)
                else:
                    self.settle(entry, "failed")

    def put_back(self, entry: Entry) -> None:
        entry.bucket = (entry.bucket, id(entry))
        self.scheduler.restore(entry)
        self.waiting.append(entry)

    def wait(self, until_s: float) -> None:
        """Pass the time, asking just when ``wake_at`` says; in between, nothing may happen."""
        for _ in range(10_000):
            wake_s = self.scheduler.wake_at(self.now)
            assert wake_s is None or wake_s > self.now
            quiet_s = until_s if wake_s is None else min(wake_s, until_s)
            for at_s in ((self.now + quiet_s) / 2, math.nextafter(quiet_s, -math.inf)):
                if self.now < at_s < quiet_s:  # of two neighbours the middle is one of them
                    self.now = at_s
                    assert self.scheduler.cut(at_s) == (None, [])
                    self.check_books()
            if wake_s is None or wake_s > until_s:
                break
            self.now = max(wake_s, self.now)
            self.pump()
        else:
            pytest.fail("woken without end")
        self.now = until_s

    # what the scheduler does about it

    def pump(self) -> None:
        for _ in range(10_000):
            batch, drops = self.scheduler.cut(self.now)
            for drop in drops:
                self.dropped(drop)
            if batch is None:
                break
            self.started(batch)
        else:
            pytest.fail("cuts without end")
        if not self.paused and not self.suspected():
            assert self.busy() or not self.waiting or self.lingers(), "an idle lane"
        assert all(entry.deadline_s > self.now for entry in self.waiting), "expired in the queue"
        self.check_books()

    def busy(self) -> bool:
        return len(self.running) >= self.policy.lanes

    def lingers(self) -> bool:
        """Whether all that waits is one batch that is not full, and has not waited too long."""
        oldest_s = min(entry.arrival_s for entry in self.waiting)
        return (
            len({entry.bucket for entry in self.waiting}) == 1
            and sum(entry.rows for entry in self.waiting) < self.policy.max_batch
            and self.now < oldest_s + self.policy.linger_s
        )

    def suspected(self) -> bool:
        """Whether somebody who may have killed an engine runs, or waits to run alone."""
        running = [entry for batch in self.running.values() for entry in batch.entries]
        heads = sorted(self.waiting, key=order)[:1]
        return any(entry.attempts for entry in (*running, *(heads if running else ())))

    def dropped(self, drop: Drop) -> None:
        entry = drop.entry
        assert not entry.waiting
        if drop.reason is DropReason.EXPIRED:
            assert entry.deadline_s <= self.now
        else:
            assert drop.reason is DropReason.SHED
            assert not self.paused
            assert len(self.running) < self.policy.lanes, "shed before it had to be"
            assert entry is min(self.waiting, key=order)
            assert not self.would_be_in_time(entry), "shed though everything fits"
        self.waiting.remove(entry)
        self.settle(entry, drop.reason.value)

    def would_be_in_time(self, head: Entry) -> bool:
        """Whether all that may run with it could, by the scheduler's own predictions."""
        own = sum(entry.rows for entry in self.waiting if entry.bucket == head.bucket)
        rows = min(own, 8)
        overhead_s = self.scheduler.statistics().overhead_s
        finish_s = self.now + self.latency.bound(head.elements, rows)
        allowance_s = self.policy.results_s + overhead_s
        return finish_s + allowance_s <= head.deadline_s - EPSILON_S

    def started(self, batch: Batch) -> None:
        assert not self.paused
        assert len(self.running) < self.policy.lanes * self.policy.depth
        assert batch.id not in self.running
        assert batch.entries
        assert batch.rows == sum(entry.rows for entry in batch.entries)
        assert batch.rows <= self.policy.max_batch
        head = batch.entries[0]
        if any(entry.attempts for entry in batch.entries):
            assert not self.running, "a suspect in company"
            assert len(batch.entries) == 1
        assert not any(e.attempts for b in self.running.values() for e in b.entries)
        assert head is min(self.waiting, key=order), "not the turn of this head"
        line = sorted((e for e in self.waiting if e.bucket == head.bucket), key=order)
        assert list(batch.entries) == line[: len(batch.entries)], "reordered"
        for entry in batch.entries:
            assert not entry.waiting
            assert entry.deadline_s > self.now
            assert entry.elements == batch.elements
            self.waiting.remove(entry)
        assert batch.cut_s == self.now <= batch.start_s <= batch.expected_finish_s
        self.running[batch.id] = batch

    # the books

    def settle(self, entry: Entry, outcome: str) -> None:
        assert entry not in self.outcomes, f"{self.outcomes[entry]} already, now {outcome}"
        self.outcomes[entry] = outcome

    def check_books(self) -> None:
        held = self.scheduler.statistics()
        assert held.waiting == len(self.waiting)
        assert held.waiting_rows == sum(entry.rows for entry in self.waiting)
        assert held.running_batches == len(self.running)
        assert all(entry.waiting for entry in self.waiting)
        assert held.arrival_rate_rps >= 0
        assert 1.0 < held.tail <= 3.0
        assert held.overhead_s >= 0

    def end(self) -> None:
        """Serve whoever is left."""
        self.happen(Resume())
        for _ in range(10_000):
            if self.running:
                self.happen(Complete(0, 1.0))
            elif self.waiting:
                self.wait(self.now + self.policy.linger_s)
            else:
                break
        assert not self.waiting
        held = self.scheduler.statistics()
        assert (held.waiting, held.waiting_rows, held.running_batches) == (0, 0, 0)
        assert self.scheduler.wake_at(self.now) is None or not self.running
        assert Counter(self.outcomes.keys()) == Counter(self.arrived), "lost or answered twice"


def order(entry: Entry) -> tuple[int, float, int]:
    return entry.priority, entry.deadline_s, entry.sequence


# -- properties ------------------------------------------------------------------------------------

LIVES = settings(
    derandomize=True,
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@LIVES
@given(policies, st.booleans(), lives)
def test_every_request_has_exactly_one_outcome_and_no_bound_is_broken(
    policy: Policy, pads: bool, life: list[Event]
) -> None:
    world = World(policy, pads=pads)
    for event in life:
        world.happen(event)
    world.end()
    assert set(world.outcomes) == set(world.arrived), "somebody was never answered"


@LIVES
@given(policies, lives)
def test_without_deadlines_nobody_is_dropped_and_turns_are_first_come_first_served(
    policy: Policy, life: list[Event]
) -> None:
    world = World(replace(policy, slo_s=None), pads=False)
    for event in life:
        if isinstance(event, Arrive):
            event = replace(event, timeout_s=math.inf, priority=0)  # noqa: PLW2901 - the same, tamed
        world.happen(event)
    world.end()
    assert set(world.outcomes.values()) <= {"answered", "queue_full", "cancelled", "failed"}
    # Sequence numbers, by which the world checks the turns, are those of arrival.
    numbers = [entry.sequence for entry in world.arrived if entry.sequence >= 0]
    assert numbers == sorted(numbers)


@LIVES
@given(policies, st.lists(arrivals, min_size=1, max_size=40))
def test_a_drained_queue_is_empty_and_has_given_everybody_back(
    policy: Policy, crowd: list[Arrive]
) -> None:
    world = World(policy, pads=False)
    world.happen(Pause())
    for arrival in crowd:
        world.happen(arrival)
    assert set(world.scheduler.drain()) == set(world.waiting)
    assert world.scheduler.statistics()[:3] == (0, 0, 0)


@LIVES
@given(st.lists(st.tuples(st.sampled_from([0.01, 0.02, 0.05]), st.integers(-1, 1)), max_size=30))
def test_equal_deadlines_keep_the_order_of_arrival_even_after_a_lost_engine(
    crowd: list[tuple[float, int]],
) -> None:
    world = World(Policy(None, 1, 100, 8), pads=False)
    world.happen(Pause())
    for timeout_s, priority in crowd:
        world.happen(Arrive(1, timeout_s, "short", priority))
    world.happen(Resume())
    world.happen(LoseEngine())
    turns: list[Entry] = []
    while world.running:
        turns += next(iter(world.running.values())).entries
        world.happen(Complete(0, 1.0))
    served = [entry for entry in turns if entry.attempts == 0]
    assert served == sorted(served, key=order)
    again = [entry for entry in turns if entry.attempts == 1]
    assert again == sorted(again, key=order)


@LIVES
@given(st.lists(st.floats(0.0005, 0.004), min_size=1, max_size=60), st.integers(1, 2))
def test_a_feasible_stream_is_served_whole(gaps_s: list[float], lanes: int) -> None:
    """One request at a time, never more than the machine can do: nobody may be refused."""
    world = World(Policy(0.05, lanes, 100, 8), pads=False)
    ends_s: dict[int, float] = {}
    for gap_s in gaps_s:
        arrive_s = world.now + gap_s + 0.0015
        while True:
            for batch in list(world.running.values())[:lanes]:
                ends_s.setdefault(batch.id, world.now + run_s(batch.elements, batch.rows))
            due = min((ends_s[b] for b in world.running if b in ends_s), default=math.inf)
            if due > arrive_s:
                break
            world.wait(due)
            ended = next(b for b in world.running.values() if ends_s.get(b.id) == due)
            world.complete(ended, 1.0)
            world.pump()
        world.wait(arrive_s)
        world.happen(Arrive(1, 0.05, "short", 0))
    world.end()
    assert set(world.outcomes.values()) == {"answered"}
