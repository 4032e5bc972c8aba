"""Schedulers of several receivers over the lanes of one engine: nothing is lost, and none is idle.

The world is an engine that takes batches in the order they were handed over, and shows each
receiver what the others have there; like the real one it tells of an end only whose batch it was.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import OverloadError
from headrace.scheduler import Batch, Entry, LatencyModel, Policy, Scheduler
from headrace.scheduler.known import Known
from headrace.scheduler.others import NOBODY, Others

SIZES = (1, 2, 4, 8)
ELEMENTS = 10


def run_s(rows: int) -> float:
    return 0.004 + 0.001 * rows


def latency() -> LatencyModel:
    measured = [(ELEMENTS, rows, run_s(rows), run_s(rows) * 1.05) for rows in SIZES]
    return LatencyModel(measured, sizes=SIZES, pads=True)


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    receiver: int
    timeout_s: float = math.inf


class World:
    """So many receivers, each with its scheduler, and one engine."""

    def __init__(
        self, receivers: int, lanes: int, ratios: list[float] | None = None, most: int = 8
    ) -> None:
        policy = Policy(None, lanes, max_queue=10_000, max_batch=most, receivers=receivers)
        self.now = 0.0
        self.lanes = lanes
        self.schedulers = [Scheduler(policy, latency()) for _ in range(receivers)]
        self.wakes: list[float | None] = [None] * receivers
        self.line: deque[tuple[int, Batch]] = deque()
        self.running: list[tuple[float, int, Batch, float]] = []
        self.ended: Counter[int] = Counter()
        self.rows_of: Counter[int] = Counter()
        self.most_held = 0
        self.idle_s = 0.0  # of a lane, while somebody waited
        self._ratios = itertools.cycle(ratios or [1.0])
        self._tick = itertools.count()
        for number, one in enumerate(self.schedulers):
            one.beside(partial(self.others, number), 0.0)

    def others(self, mine: int) -> Others:
        running = tuple(
            (since_s, batch.expected_finish_s - batch.start_s)
            for _, who, batch, since_s in sorted(self.running, key=lambda run: run[3])
            if who != mine
        )
        waiting = [batch for who, batch in self.line if who != mine]
        there = {who for _, who, *_ in self.running} | {who for who, _ in self.line}
        return Others(
            running,
            len(waiting),
            sum(batch.expected_finish_s - batch.start_s for batch in waiting),
            len(there - {mine}),
            sum(who == mine for _, who, *_ in self.running),
        )

    def play(self, arrivals: list[Arrival]) -> None:
        """Let them come, and everything end."""
        coming = deque(sorted(arrivals, key=lambda one: one.at_s))
        entries = {}
        for number in itertools.count():
            times = [coming[0].at_s if coming else math.inf]
            times += [self.running[0][0] if self.running else math.inf]
            times += [math.inf if at is None else at for at in self.wakes]
            following = min(times)
            if following == math.inf:
                break
            assert number < 50 * len(arrivals) + 1000, "somebody looks again and again"
            self._pass(following)
            while coming and coming[0].at_s <= self.now:
                one = coming.popleft()
                entry = Entry(
                    deadline_s=self.now + one.timeout_s,
                    rows=1,
                    bucket="b",
                    elements=ELEMENTS,
                    arrival_s=self.now,
                    priority=0,
                    payload=None,
                )
                entries[id(entry)] = entry
                try:
                    self.schedulers[one.receiver].admit(entry, self.now)
                except OverloadError:
                    self.ended[id(entry)] += 1
                self._look(one.receiver)
            while self.running and self.running[0][0] <= self.now:
                self._end()
            for who, at in enumerate(self.wakes):
                if at is not None and at <= self.now:
                    self._look(who)
        assert self.ended == Counter(entries.keys())
        assert not self.line

    def _pass(self, until: float) -> None:
        if any(one.statistics().waiting for one in self.schedulers):
            self.idle_s += (self.lanes - len(self.running)) * (until - self.now)
        self.now = until

    def _look(self, who: int) -> None:
        scheduler = self.schedulers[who]
        while True:
            batch, drops = scheduler.cut(self.now)
            for drop in drops:
                self.ended[id(drop.entry)] += 1
            if batch is None:
                # As a receiver sets its clock: by what it saw when it looked.
                self.wakes[who] = scheduler.wake_at(self.now)
                return
            self.line.append((who, batch))
            self._go_on()
            self.most_held = max(self.most_held, len(self.line) + len(self.running))

    def _go_on(self) -> None:
        while self.line and len(self.running) < self.lanes:
            who, batch = self.line.popleft()
            end_s = self.now + run_s(_padded(batch.rows)) * next(self._ratios)
            heapq.heappush(self.running, (end_s + next(self._tick) * 1e-12, who, batch, self.now))

    def _end(self) -> None:
        _, who, batch, since_s = heapq.heappop(self.running)
        for entry in batch.entries:
            self.ended[id(entry)] += 1
        self.rows_of[who] += batch.rows
        self._go_on()
        self.schedulers[who].finish(batch.id, self.now, self.now - since_s)
        self._look(who)


def _padded(rows: int) -> int:
    return next(size for size in SIZES if size >= rows)


moments = st.integers(0, 200_000).map(lambda us: us * 1e-6)
arrivals = st.lists(
    st.builds(
        Arrival,
        moments,
        st.integers(0, 2),
        st.sampled_from([math.inf, 0.5, 0.05, 0.01]),
    ),
    max_size=60,
)


@pytest.mark.slow
@given(arrivals, st.integers(1, 4), st.lists(st.floats(0.3, 3.0), min_size=1, max_size=7))
@settings(max_examples=150, deadline=None)
def test_every_request_ends_once_and_the_engine_holds_little(
    coming: list[Arrival], lanes: int, ratios: list[float]
) -> None:
    world = World(3, lanes, ratios)
    world.play(coming)
    places = 2 * lanes
    assert world.most_held <= places + 3 * max(1, places // 3)


@pytest.mark.slow
@given(
    st.lists(st.builds(Arrival, moments, st.integers(0, 2)), max_size=120),
    st.integers(1, 4),
)
@settings(max_examples=100, deadline=None)
def test_no_lane_is_idle_while_any_receiver_has_work_when_runs_are_as_expected(
    coming: list[Arrival], lanes: int
) -> None:
    """And as long as each other: of what waits the board shows the mean."""
    world = World(3, lanes, most=1)
    world.play(coming)
    assert world.idle_s <= 1e-6


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_receivers_that_all_want_more_than_there_is_get_as_much_each(lanes: int) -> None:
    world = World(2, lanes)
    world.play([Arrival(0.0001 * number, number % 2) for number in range(4000)])
    assert world.rows_of[0] == pytest.approx(world.rows_of[1], rel=0.1)
    assert world.idle_s < 0.01 * world.now * lanes


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_a_receiver_that_comes_late_is_not_kept_out_by_one_that_wants_all(lanes: int) -> None:
    world = World(2, lanes)
    flood = [Arrival(0.0001 * number, 0) for number in range(4000)]
    world.play([*flood, Arrival(0.1, 1, 0.1)])
    assert world.rows_of[1] == 1


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_alone_a_receiver_has_every_lane(lanes: int) -> None:
    alone, beside_idle = World(1, lanes), World(4, lanes)
    coming = [Arrival(0.0005 * number, 0) for number in range(1000)]
    alone.play(coming)
    beside_idle.play(coming)
    assert beside_idle.now == pytest.approx(alone.now, rel=1e-6)


def test_a_miss_behind_the_batches_of_another_receiver_is_refused() -> None:
    policy = Policy(slo_s=0.02, lanes=1, max_queue=100, max_batch=8, receivers=2)
    mine = Scheduler(policy, latency())
    there = Others(running=((0.0, 0.05),), receivers=1)
    mine.beside(lambda: there, 0.0)
    late = Entry(
        deadline_s=0.02, rows=1, bucket="b", elements=ELEMENTS, arrival_s=0.0, priority=0, payload=0
    )
    with pytest.raises(OverloadError, match="too late"):
        mine.admit(late, 0.0)
    mine.beside(lambda: NOBODY, 0.0)
    mine.admit(late, 0.0)
    assert mine.cut(0.0)[0] is not None


def test_a_model_of_one_lane_has_one_for_each_receiver_where_there_are_instances() -> None:
    tiny = ((1, 1, 0.0001, 0.0001),)
    known = Known(tiny, SIZES, pads=True, instances=4, slo_s=None, max_queue=9, receivers=2)
    assert (known.lanes, known.shared) == (1, False)
    few = Known(tiny, SIZES, pads=True, instances=1, slo_s=None, max_queue=9, receivers=2)
    assert few.shared
    long = Known(((1, 1, 0.01, 0.01),), SIZES, True, 4, None, 9, receivers=2)  # noqa: FBT003
    assert (long.lanes, long.shared) == (4, True)
