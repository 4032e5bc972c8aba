"""Differences between two that are measured in turns."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.load.pairs import Difference, differ, differ_in_rate, student, turns

VALUES = st.lists(st.floats(0.1, 1000), min_size=6, max_size=30).map(
    lambda values: values[: len(values) // 2 * 2]
)


def test_both_stand_in_every_place_of_a_block() -> None:
    order = list(turns(3))
    assert order == [0, 1, 1, 0] * 3
    # What drifts evenly falls on both alike: the places of A and B have the same sum.
    for block in range(3):
        places = [[n for n in range(4) if order[4 * block + n] == side] for side in (0, 1)]
        assert sum(places[0]) == sum(places[1])


@given(VALUES, st.floats(0.5, 2))
def test_a_fixed_ratio_is_found_exactly(a: list[float], ratio: float) -> None:
    found = differ(a, [ratio * value for value in a])
    assert found is not None
    assert found.share == pytest.approx(ratio - 1, abs=1e-6)
    assert found.high - found.low == pytest.approx(0, abs=1e-6)


@given(VALUES, VALUES)
def test_the_interval_has_the_difference_in_it_and_turns_round_with_the_sides(
    a: list[float], b: list[float]
) -> None:
    size = min(len(a), len(b))
    there, back = differ(a[:size], b[:size]), differ(b[:size], a[:size])
    assert there is not None
    assert back is not None
    assert there.low <= there.share <= there.high
    assert 1 + back.share == pytest.approx(1 / (1 + there.share))
    assert there.is_told is back.is_told


def test_two_that_are_the_same_are_told_apart_one_time_in_twenty() -> None:
    dice = random.Random(1)
    told = 0
    for _ in range(1000):
        a, b = ([math.exp(dice.gauss(0, 0.1)) for _ in range(10)] for _ in range(2))
        found = differ(a, b)
        told += found is not None and found.is_told
    assert 25 <= told <= 80


def test_a_difference_beyond_the_noise_is_told() -> None:
    dice = random.Random(2)
    a = [100 * math.exp(dice.gauss(0, 0.02)) for _ in range(10)]
    b = [110 * math.exp(dice.gauss(0, 0.02)) for _ in range(10)]
    found = differ(a, b)
    assert found is not None
    assert found.is_told
    assert found.low < 0.1 < found.high


@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0] * 4, [1.0] * 4), ([1.0] * 6, [1.0] * 5 + [0.0]), ([1.0] * 6, [math.nan] * 6)],
)
def test_of_too_little_nothing_is_said(a: list[float], b: list[float]) -> None:
    assert differ(a, b) is None


def test_rates_that_are_0_in_some_slices_are_compared() -> None:
    found = differ_in_rate([100.0] * 10, [100.0] * 4 + [0.0, 0.0] + [100.0] * 4)
    assert found is not None
    assert found.share == pytest.approx(-0.2)
    assert not found.is_told  # one slice may be chance
    worse = differ_in_rate([100.0] * 10, [50.0, 0.0] * 5)
    assert worse == Difference(-0.75, -0.75, -0.75)
    assert differ_in_rate([0.0] * 10, [1.0] * 10) is None
    assert differ_in_rate([1.0] * 4, [1.0] * 4) is None


@given(VALUES, st.floats(0.5, 2))
def test_a_fixed_share_of_a_rate_is_found(a: list[float], ratio: float) -> None:
    found = differ_in_rate(a, [ratio * value for value in a])
    assert found is not None
    assert found.low <= ratio - 1 + 1e-9
    assert found.high >= ratio - 1 - 1e-9
    assert found.share == pytest.approx(ratio - 1, abs=1e-6)


def test_students_t_falls_to_the_normal() -> None:
    values = [student(freedom) for freedom in range(1, 40)]
    assert values == sorted(values, reverse=True)
    assert (values[0], values[-1]) == (12.706, 1.96)
    assert Difference(0.1, -0.1, 0.3).is_told is False
