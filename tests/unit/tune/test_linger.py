"""Which waits for more rows are tried, and why none is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.tune.forecast import best_of_each, forecast, forecasts, machine
from headrace.tune.linger import Lingers, lingers
from headrace.tune.measured import Measured
from headrace.tune.space import Candidate
from headrace.tune.wanted import Objective
from tests.unit.tune.made import F32, SETTING, candidate, measured
from tests.unit.tune.made import forecast as made


def tried(row: Measured, used: float = 0.5, max_batch: int = 32, slo_s: float = 0.05) -> Lingers:
    one = candidate(max_batch=max_batch)
    return lingers(machine(row, one, SETTING), used, slo_s)


def test_as_long_as_what_a_run_costs_whatever_its_rows_is_tried_and_four_times_that() -> None:
    assert tried(measured(fixed_s=0.002, each_s=0.0001)).tried_ms == (2.0, 8.0)


def test_no_wait_is_longer_than_a_quarter_of_the_objective() -> None:
    row = measured(fixed_s=0.002, each_s=0.0001)
    assert tried(row, slo_s=0.02).tried_ms == (2.0, 5.0)
    assert tried(row, slo_s=0.008).tried_ms == (2.0,)


@pytest.mark.parametrize(
    ("row", "used", "max_batch", "words"),
    [
        (measured(fixed_s=0.001, each_s=0.004), 0.5, 32, "hardly less in a larger batch"),
        (measured(fixed_s=0.004, each_s=0.0001), 0.5, 1, "hardly less in a larger batch"),
        (measured(fixed_s=0.004, each_s=0.0001), 0.97, 32, "always busy"),
        (measured(fixed_s=0.00005, each_s=0.000001), 0.5, 32, "over sooner"),
    ],
    ids=["no fixed part", "single rows", "busy lanes", "short runs"],
)
def test_where_it_cannot_pay_it_is_said_why(
    row: Measured, used: float, max_batch: int, words: str
) -> None:
    found = tried(row, used, max_batch)
    assert found.tried_ms == ()
    assert words in found.why_not


@pytest.mark.slow  # it plays thousands of requests
def test_where_an_objective_is_as_short_as_two_runs_waiting_does_much_more() -> None:
    short = replace(SETTING, objective=Objective(0.020))
    row, at_once = measured(fixed_s=0.008, each_s=0.00005), candidate(F32, 2, 32)
    first = forecast(row, at_once, short)
    (waits_ms, *_), _ = lingers(machine(row, at_once, short), first.used, 0.020)
    waits = forecast(row, replace(at_once, linger_ms=waits_ms), short)
    assert waits.rate_rps > 1.3 * first.rate_rps


@pytest.mark.slow  # the same
def test_the_best_is_played_with_waits_too_unless_one_is_set() -> None:
    rows = [measured(fixed_s=0.008, each_s=0.00005, sizes=(1, 32))]
    short = replace(SETTING, objective=Objective(0.020))
    assert {one.candidate.linger_ms for one in forecasts(rows, short, 1)} == {0.0, 5.0}
    own = replace(short, linger_ms=3.0)
    assert {one.candidate.linger_ms for one in forecasts(rows, own, 1)} == {3.0}


def test_a_wait_goes_on_beside_the_best_without_where_it_is_forecast_to_do_more() -> None:
    at_once = candidate(F32, 2, 8)
    waits = replace(at_once, linger_ms=2.0)

    def chosen(rate_rps: float) -> list[Candidate]:
        found = [made(at_once, 100), made(waits, rate_rps)]
        worth = {one.candidate: one.rate_rps for one in found}
        return [one.candidate for one in best_of_each(found, worth)]

    assert chosen(110) == [waits, at_once]
    assert chosen(100.5) == [at_once]


def test_a_candidate_that_waits_says_so_and_is_no_longer_the_cheapest() -> None:
    at_once = candidate(F32, 2, 8)
    waits = replace(at_once, linger_ms=2.5)
    assert str(waits) == f"{at_once}, linger 2.5 ms"
    assert waits.cost > at_once.cost
