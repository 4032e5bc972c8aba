"""How early the next batch is handed over: earlier where it is copied while another computes."""

from __future__ import annotations

import math

import pytest

from headrace.scheduler import Entry, Scheduler
from headrace.scheduler.known import Known, Learnt
from headrace.scheduler.simulate import Arrival, simulate

SIZES = (1, 2, 4)
RUN_S = 0.1


def busy(stages: int, rows: int) -> Scheduler:
    """One lane that has computed since 0, and for which so many rows wait."""
    measured = tuple((1, size, RUN_S, RUN_S) for size in SIZES)
    known = Known(
        measured, sizes=SIZES, pads=False, instances=1, slo_s=None, max_queue=100, stages=stages
    )
    made = known.scheduler()
    for _ in range(1 + rows):
        made.admit(Entry(math.inf, 1, "a", 1, 0.0), 0.0)
        if made.statistics().running_batches == 0:
            assert made.cut(0.0)[0] is not None
    return made


@pytest.mark.parametrize(
    ("stages", "rows", "lead_s"), [(1, 2, 0.0005), (1, 4, 0.002), (2, 2, 0.002), (2, 4, 0.02)]
)
def test_a_batch_is_ready_when_its_lane_is_and_no_earlier(
    stages: int, rows: int, lead_s: float
) -> None:
    made = busy(stages, rows)
    # A run ends when it was said to, besides what its way to the engine takes.
    early_s = made.wake_at(0.0)
    assert early_s is not None
    assert made.cut(early_s - 0.0001)[0] is None
    batch, _ = made.cut(early_s + 0.0001)
    assert batch is not None
    assert batch.rows == rows
    assert early_s == pytest.approx(batch.start_s - lead_s, abs=0.001)


def test_a_shape_of_short_runs_takes_no_lane_from_a_long_one() -> None:
    def lanes(*runs: tuple[int, float]) -> int:
        measured = tuple((elements, 1, run_s, run_s) for elements, run_s in runs)
        return Known(measured, sizes=(1,), pads=False, instances=4, slo_s=None, max_queue=100).lanes

    assert lanes((16, 0.0001)) == 1
    assert lanes((16, 0.0001), (512, 0.0002)) == 1
    assert lanes((16, 0.0001), (512, 0.04)) == 4
    assert lanes() == 4


@pytest.mark.parametrize(
    ("learnt", "refused"),
    [
        (None, 0),
        (Learnt(slower=1.2, tail_ratio=1.1), 0),
        (Learnt(slower=1.6, tail_ratio=1.1), 1),
        (Learnt(slower=1.0, tail_ratio=2.5), 1),
    ],
)
def test_one_that_begins_as_if_it_had_served_refuses_what_that_would(
    learnt: Learnt | None, refused: int
) -> None:
    measured = ((1, 1, RUN_S, RUN_S),)
    known = Known(measured, sizes=(1,), pads=False, instances=1, slo_s=0.3, max_queue=100)
    result = simulate(
        known.scheduler(learnt=learnt),
        [Arrival(0.0, 0.3), Arrival(0.001, 0.299)],  # the second waits for the first
        lambda _elements, _rows: RUN_S,
        lanes=1,
    )
    assert result.outcomes.get("predicted_miss", 0) == refused
