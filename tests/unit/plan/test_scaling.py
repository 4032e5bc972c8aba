from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.plan.scaling import Scaling, fit

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)


def law(one: float, contention: float, coherency: float, count: int) -> float:
    return one * count / (1 + contention * (count - 1) + coherency * count * (count - 1))


def points(
    one: float, contention: float, coherency: float, noise: float = 0.0, seed: int = 1
) -> list[tuple[int, float]]:
    random = np.random.default_rng(seed)
    return [
        (count, law(one, contention, coherency, count) * float(np.exp(noise * random.normal())))
        for count in COUNTS
    ]


@settings(deadline=None)  # numpy's first call starts threads
@given(st.floats(0.1, 1e5), st.floats(0, 0.9), st.floats(0, 0.1))
def test_points_of_the_law_give_the_law_back(
    one: float, contention: float, coherency: float
) -> None:
    found = fit(points(one, contention, coherency))
    assert found.one_rps.value == pytest.approx(one, rel=1e-6)
    assert found.contention.value == pytest.approx(contention, abs=1e-6)
    assert found.coherency.value == pytest.approx(coherency, abs=1e-6)
    for count in (1, 5, 32):
        assert found.throughput(count) == pytest.approx(
            law(one, contention, coherency, count), rel=1e-4
        )


@settings(deadline=None)  # numpy's first call starts threads
@given(
    st.lists(
        st.tuples(st.integers(1, 64), st.floats(1, 1e4)),
        min_size=2,
        max_size=12,
        unique_by=lambda point: point[0],
    )
)
def test_no_cost_is_ever_negative_and_one_is_as_fast_as_alone(
    found: list[tuple[int, float]],
) -> None:
    try:
        scaling = fit(found)
    except ValueError:
        return  # ever faster than in proportion: there is no such law
    assert scaling.contention.value >= 0
    assert scaling.coherency.value >= 0
    assert scaling.one_rps.value > 0
    assert scaling.speed(1) == 1
    assert all(scaling.speed(n + 1) <= scaling.speed(n) for n in range(1, 64))
    assert scaling.peak.value >= 1


def test_past_the_peak_more_instances_do_less() -> None:
    found = fit(points(100, 0.05, 0.004))
    assert found.peak.value == pytest.approx(math.sqrt(0.95 / 0.004), rel=1e-6)
    below, at, above = (found.throughput(found.peak.value * share) for share in (0.8, 1, 1.2))
    assert at > below
    assert at > above


def test_the_truth_is_within_the_bounds_as_often_as_they_say() -> None:
    held = {"one_rps": 0, "contention": 0, "coherency": 0}
    truth = {"one_rps": 100.0, "contention": 0.05, "coherency": 0.004}
    for seed in range(300):
        found = fit(points(100, 0.05, 0.004, noise=0.02, seed=seed))
        for name, true in truth.items():
            interval = getattr(found, name)
            held[name] += interval.low <= true <= interval.high
    assert all(count >= 0.9 * 300 for count in held.values()), held


def test_bounds_need_more_points_than_unknowns() -> None:
    assert fit([(1, 100), (2, 180), (4, 300)]).contention.low is None
    assert fit([(1, 100), (2, 180), (4, 300), (8, 420)]).contention.low is not None


def test_of_two_points_there_is_contention_alone() -> None:
    found = fit([(1, 100.0), (2, 160.0)])
    assert found.coherency.value == 0
    assert found.contention.value == pytest.approx(0.25)
    assert found.peak.value == math.inf
    assert found.document()["peak_instances"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [(1, 100.0)],
        [(2, 1.0), (2, 2.0)],
        [(0, 1.0), (1, 2.0)],
        [(1, 0.0), (2, 1.0)],
        [(1, math.inf), (2, 1.0)],
    ],
)
def test_what_cannot_be_fitted_is_refused(wrong: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match=r"instances|throughput"):
        fit(wrong)


def test_perfect_scaling_costs_nothing() -> None:
    found = fit([(n, 50.0 * n) for n in COUNTS])
    assert isinstance(found, Scaling)
    assert found.speed(16) == pytest.approx(1, abs=1e-9)
