from __future__ import annotations

import numpy as np
import pytest

from headrace.plan.estimate import Estimate, student_t


def test_a_single_value_does_not_say_how_far_it_is_off() -> None:
    assert Estimate.of([3.0]) == Estimate(3.0, None)
    assert Estimate.of([3.0]).scaled(2) == Estimate(6.0, None)
    assert Estimate.of([3.0]).document() == {"mean": 3.0, "off_by": None}


def test_two_values_by_hand() -> None:
    found = Estimate.of([1.0, 3.0])
    assert found.mean == 2.0
    assert found.off_by == pytest.approx(12.706)
    assert found.scaled(1e3).off_by == pytest.approx(12_706)


def test_t_falls_to_that_of_the_normal_law() -> None:
    values = [student_t(degrees) for degrees in range(1, 200)]
    assert values == sorted(values, reverse=True)
    assert student_t(30) == pytest.approx(2.042, abs=0.003)
    assert student_t(120) == pytest.approx(1.980, abs=0.003)
    with pytest.raises(ValueError, match="degree"):
        student_t(0)


def test_the_true_mean_is_inside_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        found = Estimate.of(random.normal(5.0, 2.0, 5).tolist())
        assert found.off_by is not None
        inside += abs(found.mean - 5.0) <= found.off_by
    assert 0.935 <= inside / 2000 <= 0.965
