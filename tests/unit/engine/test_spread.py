"""Batches are spread over the instances, whichever threads they come to."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.spread import Spread

Steps = list[tuple[int, int]]  # whether a batch comes, ends, or the number changes; which

STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 11)), max_size=60)


class Engine:
    """Threads, each with a batch on some lane or free, and what has been true of them."""

    def __init__(self, instances: int, stages: int) -> None:
        self.instances, self.stages = instances, stages
        self.spread = Spread(instances * stages, stages)
        self.lanes: dict[int, int] = {}  # that threads run something on
        self.crowded: list[tuple[Counter[int], int]] = []  # what had batches, who got a needless

    @property
    def runs(self) -> Counter[int]:
        return Counter(lane // self.stages for lane in self.lanes.values())

    def play(self, steps: Steps) -> None:
        for kind, which in steps:
            if kind == 4:
                self.spread.open = which % self.instances + 1
            elif kind == 3 and self.lanes:
                thread = sorted(self.lanes)[which % len(self.lanes)]
                self.spread.end(self.lanes.pop(thread))
            else:
                self._come(which % (self.instances * self.stages))

    def _come(self, thread: int) -> None:
        if thread in self.lanes:
            return
        before = self.runs
        lane = self.spread.take(thread)
        assert 0 <= lane < self.instances * self.stages
        assert lane not in self.lanes.values()
        self.lanes[thread] = lane
        if not self._is_spread(before, lane // self.stages):
            self.crowded.append((before, lane // self.stages))

    def _is_spread(self, before: Counter[int], taken: int) -> bool:
        full, batches = len(before) >= self.spread.open, before[taken]
        room = [one for one in before if before[one] < self.stages]
        if batches:  # a second only where no other may begin, and on none that has more
            return full and batches == min(before[one] for one in room)
        return not (full and room)  # one more than wanted begins only where none has a lane


@given(st.integers(1, 4), st.integers(1, 3), STEPS)
def test_a_second_lane_has_a_batch_only_when_every_open_instance_has_one(
    instances: int, stages: int, steps: Steps
) -> None:
    engine = Engine(instances, stages)
    engine.play(steps)
    assert not engine.crowded


@given(st.integers(1, 4), STEPS)
def test_of_instances_of_one_lane_each_thread_keeps_to_its_own(
    instances: int, steps: Steps
) -> None:
    engine = Engine(instances, stages=1)
    for step in steps:
        engine.play([step])
        assert all(thread == lane for thread, lane in engine.lanes.items())


@given(st.integers(1, 3), STEPS)
def test_of_one_instance_each_thread_keeps_to_its_own(stages: int, steps: Steps) -> None:
    engine = Engine(1, stages)
    for step in steps:
        engine.play([step])
        assert all(thread == lane for thread, lane in engine.lanes.items())


def test_a_thread_keeps_to_its_own_lane_where_others_are_no_better() -> None:
    spread = Spread(4, stages=2)
    assert spread.take(1) == 1
    assert spread.take(0) == 2  # the other instance is idle
    assert spread.take(3) == 3
    spread.end(2)
    assert spread.take(2) == 2


def test_while_one_instance_is_open_the_other_has_nothing() -> None:
    spread = Spread(4, stages=2)
    spread.open = 1
    assert spread.take(2) == 2
    assert spread.take(0) == 3
    assert spread.take(0) == 0  # who was inside already ends what it does
