"""What is made of run times: bounds, the knee, and when to stop."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.tune.measured import Point, is_enough, knee, within
from tests.unit.tune.made import measured

times = st.lists(st.floats(1e-5, 1.0), min_size=1, max_size=60).map(tuple)


@given(times)
def test_the_median_is_within_its_bounds(taken: tuple[float, ...]) -> None:
    point = Point(1, taken)
    low, high = point.bounds_s
    assert low <= statistics.median(taken) <= high
    assert low >= min(taken)
    assert high <= max(taken)


def test_the_bounds_hold_the_true_median_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = Point(1, tuple(random.exponential(1.0, 40).tolist())).bounds_s
        held += low <= np.log(2) <= high
    assert held / 400 > 0.93


def points(*costs: float) -> list[Point]:
    """Sizes 1, 2, 4, ..., a row of each costing so many milliseconds."""
    return [Point(2**place, (1e-3 * cost * 2**place,) * 3) for place, cost in enumerate(costs)]


def test_larger_batches_are_tried_until_a_row_costs_more_twice() -> None:
    assert not is_enough(points(4, 3, 2.5), 1.0)
    assert not is_enough(points(4, 3, 3.3), 1.0)
    assert is_enough(points(4, 3, 3.3, 3.4), 1.0)
    assert not is_enough(points(4, 3, 3.3, 2.9, 3.3), 1.0)
    assert not is_enough([], 1.0)


def test_what_leaves_no_room_in_the_objective_ends_it_too() -> None:
    assert is_enough(points(4, 3, 2.5), 0.010)
    assert [point.rows for point in within(points(4, 3, 2.5), 0.010)] == [1, 2]
    assert [point.rows for point in within(points(400), 0.010)] == [1]


def test_the_knee_is_the_smallest_batch_that_is_near_the_best() -> None:
    assert knee(points(10, 6, 5.05, 5.0, 5.2)) == 4
    assert knee(points(5, 5, 5, 5)) == 1
    assert knee(points(8, 4, 2, 1)) == 8


def test_the_speed_of_lanes_that_were_not_measured_is_between_the_others() -> None:
    row = measured(speeds={4: 0.7})
    assert row.speed(1) == 1.0
    assert row.speed(2) == pytest.approx(0.9)
    assert row.speed(4) == row.speed(8) == 0.7
