from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.load.arrivals import Arrivals, Times, bursts, constant, poisson

RATES = st.floats(0.5, 500)
DURATIONS = st.floats(0.1, 10)
SEEDS = st.integers(0, 2**32 - 1)


def _distance_to_exponential(gaps_s: Times, rate: float) -> float:
    """Kolmogorov and Smirnov's: the largest distance between the two distribution functions."""
    theory = 1 - np.exp(-rate * np.sort(gaps_s))
    steps = np.arange(len(gaps_s) + 1) / len(gaps_s)
    return float(max(np.max(theory - steps[:-1]), np.max(steps[1:] - theory)))


def _dispersion(times_s: Times, duration_s: float, window_s: float) -> float:
    """Variance over mean of the counts in windows: 1 for Poisson, 0 for a clock."""
    counts, _ = np.histogram(times_s, np.arange(0, duration_s + window_s / 2, window_s))
    return float(counts.var() / counts.mean())


@given(RATES, DURATIONS, SEEDS)
@pytest.mark.parametrize("plan", [poisson, bursts])
def test_a_plan_is_in_order_inside_its_duration_and_the_same_for_the_same_seed(
    plan: Callable[[float, float, int], Arrivals], rate: float, duration_s: float, seed: int
) -> None:
    first, second = plan(rate, duration_s, seed), plan(rate, duration_s, seed)
    np.testing.assert_array_equal(first.times_s, second.times_s)
    assert np.all(np.diff(first.times_s) >= 0)
    assert np.all((first.times_s >= 0) & (first.times_s < duration_s))
    assert first.times_s.dtype == np.float64


@given(RATES, DURATIONS)
def test_a_constant_plan_has_equal_gaps_and_as_many_requests_as_fit(
    rate: float, duration_s: float
) -> None:
    plan = constant(rate, duration_s)
    np.testing.assert_allclose(np.diff(plan.times_s), 1 / rate)
    assert plan.times_s[0] == 0
    assert plan.times_s[-1] < duration_s <= (len(plan) + 1e-6) / rate


@pytest.mark.parametrize("plan", [poisson, bursts])
def test_other_seeds_give_other_plans(plan: Callable[[float, float, int], Arrivals]) -> None:
    assert not np.array_equal(plan(100, 1, 1).times_s[:5], plan(100, 1, 2).times_s[:5])


def test_poisson_has_its_rate_and_exponential_gaps() -> None:
    plan = poisson(1000, 100, seed=3)
    assert abs(len(plan) - 100_000) < 4 * math.sqrt(100_000)
    assert plan.rate == len(plan) / 100
    gaps_s = np.diff(plan.times_s)
    # 1.63/√n is the distance that one sample in a hundred exceeds.
    assert _distance_to_exponential(gaps_s, 1000) < 1.63 / math.sqrt(len(gaps_s))
    assert abs(_dispersion(plan.times_s, 100, 0.1) - 1) < 0.2


def test_the_test_of_the_distribution_can_fail() -> None:
    gaps_s = np.diff(constant(1000, 10).times_s)
    assert _distance_to_exponential(gaps_s, 1000) > 0.3


@pytest.mark.slow
def test_bursts_have_the_rate_in_the_long_run_and_the_dispersion_of_their_two_states() -> None:
    factor, burst_s, calm_s, window_s = 4.0, 0.2, 0.8, 1.0
    plan = bursts(500, 4000, 5, factor=factor, burst_s=burst_s, calm_s=calm_s)
    assert abs(plan.rate / 500 - 1) < 0.02
    # Fischer and Meier-Hellstern, "The MMPP cookbook": the index of dispersion of counts.
    calm_rate = 500 / (factor * burst_s + calm_s)
    fast, slow, leave, enter = factor * calm_rate, calm_rate, 1 / burst_s, 1 / calm_s
    both = leave + enter
    limit = 2 * (fast - slow) ** 2 * leave * enter / (both**2 * (fast * enter + slow * leave))
    theory = 1 + limit * (1 - (1 - math.exp(-both * window_s)) / (both * window_s))
    assert _dispersion(plan.times_s, 4000, window_s) == pytest.approx(theory, rel=0.1)


@pytest.mark.parametrize("duration_s", [0.05, 0.3, 1.0, 2.5, 7.0])
def test_bursts_have_their_rate_in_every_plan(duration_s: float) -> None:
    count = 10_000
    for seed in range(20):
        plan = bursts(count / duration_s, duration_s, seed)
        assert abs(len(plan) - count) < 5 * math.sqrt(count)


def test_a_plan_that_is_shorter_than_a_burst_and_a_calm_has_one_of_each() -> None:
    for seed in range(20):
        counts, _ = np.histogram(bursts(1e6, 0.05, seed).times_s, 100, (0.0, 0.05))
        # 312 in a hundredth of the time, and 1,250 in those of the burst, which may be cut in two.
        assert 18 <= np.count_nonzero(counts > 800) <= 22


def test_bursts_by_a_factor_of_one_are_poisson() -> None:
    gaps_s = np.diff(bursts(1000, 50, 7, factor=1).times_s)
    assert _distance_to_exponential(gaps_s, 1000) < 1.63 / math.sqrt(len(gaps_s))


def test_a_plan_cannot_be_written_to_and_does_not_share_what_it_was_made_of() -> None:
    trace = np.array([0.0, 0.5])
    plan = Arrivals(trace, 1.0)
    trace[0] = 0.4
    assert plan.times_s[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        plan.times_s[0] = 1


@pytest.mark.parametrize(
    ("times_s", "message"),
    [
        ([0.5, 0.2], "order"),
        ([0.1, 0.9, 0.5, 0.95], "order"),
        ([-0.1, 0.5], "within"),
        ([0.5, 1.0], "within"),
        ([[0.5]], "one list"),
    ],
)
def test_times_that_are_no_plan_are_refused(times_s: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Arrivals(np.array(times_s), 1.0)


@pytest.mark.parametrize(("rate", "duration_s"), [(0, 1), (-1, 1), (1, 0), (math.inf, 1)])
def test_a_plan_needs_a_rate_and_a_duration(rate: float, duration_s: float) -> None:
    with pytest.raises(ValueError, match="rate and a duration"):
        poisson(rate, duration_s, seed=1)


@pytest.mark.parametrize("odd", [{"factor": 0.5}, {"burst_s": 0}, {"calm_s": -1}])
def test_bursts_that_are_none_are_refused(odd: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="burst"):
        bursts(10, 1, 1, **odd)
