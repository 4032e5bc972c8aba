"""Forecasts of machines that are made up: what is found must be what their numbers say."""

from __future__ import annotations

import pytest

from headrace.tune.forecast import best_of_each, bound, forecast, forecasts, machine
from tests.unit.tune.made import BF16, F32, OTHER, SETTING, candidate, measured
from tests.unit.tune.made import forecast as made

pytestmark = pytest.mark.slow  # they play thousands of requests


def test_the_rate_is_what_the_lanes_can_do_less_what_chance_leaves_idle() -> None:
    one = candidate(instances=2, max_batch=8)
    found = forecast(measured(), one, SETTING)
    capacity_rps = 2 * 8 / (0.002 + 0.002 * 8)
    assert 0.6 * capacity_rps < found.rate_rps <= found.bound_rps
    assert found.bound_rps == pytest.approx(capacity_rps, rel=0.1)
    assert found.p99_s is not None
    assert found.p99_s <= SETTING.objective.slo_s


def test_a_model_that_is_twice_as_fast_does_about_twice_as_much() -> None:
    slow = forecast(measured(F32, 0.004, 0.004), candidate(F32), SETTING)
    fast = forecast(measured(BF16, 0.002, 0.002), candidate(BF16), SETTING)
    assert 1.8 < fast.rate_rps / slow.rate_rps < 2.8


def test_no_more_is_forecast_than_a_receiver_takes() -> None:
    row, one = measured(fixed_s=1e-6, each_s=1e-6), candidate(max_batch=8)
    found = forecast(row, one, SETTING)
    assert 0 < found.rate_rps <= 0.95 / machine(row, one, SETTING).front.each_s


def test_lanes_that_disturb_each_other_do_less() -> None:
    alone = forecast(measured(), candidate(), SETTING)
    crowded = forecast(measured(speeds={2: 0.6}), candidate(), SETTING)
    assert crowded.rate_rps < 0.75 * alone.rate_rps


def test_a_run_longer_than_the_objective_has_no_rate() -> None:
    found = forecast(measured(fixed_s=0.08), candidate(), SETTING)
    assert found.rate_rps == 0
    assert found.p99_s is None


def test_batches_that_the_server_would_not_keep_are_not_played() -> None:
    slow = measured(fixed_s=0.001, each_s=0.004)
    assert max(machine(slow, candidate(max_batch=32), SETTING).known.sizes) == 4
    assert max(machine(slow, candidate(max_batch=2), SETTING).known.sizes) == 2


def test_what_cannot_be_among_the_best_is_not_played() -> None:
    rows = [measured(F32), measured(OTHER, 0.02, 0.02)]
    played = {one.candidate.variant for one in forecasts(rows, SETTING, keep=1)}
    assert played == {F32}
    both = {one.candidate.variant for one in forecasts(rows, SETTING, keep=4)}
    assert both == {F32, OTHER}


def test_the_untuned_one_comes_first_whatever_it_does() -> None:
    untuned = candidate(OTHER, 2, 64)
    rows = [measured(F32), measured(OTHER, 0.02, 0.02)]
    first, *_ = forecasts(rows, SETTING, 1, (untuned,))
    assert first.candidate == untuned


@pytest.mark.parametrize(("knee", "cap"), [(1, 4), (4, 4), (8, 8), (12, 8), (64, 32)])
def test_of_what_differs_only_in_its_cap_that_at_the_knee_is_kept(knee: int, cap: int) -> None:
    rates = {1: 100, 4: 199, 8: 200, 32: 200}
    found = [made(candidate(max_batch=each), rate, knee=knee) for each, rate in rates.items()]
    found.append(made(candidate(BF16, 1, 8), 150))
    worth = {one.candidate: one.rate_rps for one in found}
    assert [(one.candidate.max_batch, one.rate_rps) for one in best_of_each(found, worth)] == [
        (cap, rates[cap]),
        (8, 150),
    ]


@pytest.mark.parametrize(("rate", "caps"), [(190, [8, 1]), (100, [8])])
def test_of_the_best_the_smallest_cap_is_raced_too_where_it_is_near(
    rate: int, caps: list[int]
) -> None:
    rates = {1: rate, 4: 180, 8: 200}
    found = [made(candidate(max_batch=each), rate, knee=8) for each, rate in rates.items()]
    found += [made(candidate(BF16, 1, each), rate - 50, knee=8) for each, rate in rates.items()]
    worth = {one.candidate: one.rate_rps for one in found}
    raced = [one.candidate for one in best_of_each(found, worth)]
    assert raced == [*(candidate(max_batch=cap) for cap in caps), candidate(BF16, 1, 8)]


def test_the_bound_is_never_below_what_is_found() -> None:
    for variant, fixed_s, each_s in ((F32, 0.001, 0.005), (BF16, 0.01, 0.0001), (OTHER, 0, 0.0001)):
        row = measured(variant, fixed_s, each_s)
        for instances in (1, 2):
            one = candidate(variant, instances, 32)
            assert forecast(row, one, SETTING).rate_rps <= bound(machine(row, one, SETTING))
