"""Which waits for more rows are tried, and why none is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.tune.forecast import best_of_each, forecasts, machine
from headrace.tune.linger import Lingers, lingers
from headrace.tune.measured import Measured
from headrace.tune.space import Candidate
from tests.unit.tune.made import F32, SETTING, candidate, measured
from tests.unit.tune.made import forecast as made


def tried(row: Measured, batch: float = 2.0, max_batch: int = 32, slo_s: float = 0.05) -> Lingers:
    one = candidate(max_batch=max_batch)
    return lingers(machine(row, one, SETTING), batch, slo_s)


def test_half_and_twice_of_what_a_run_costs_whatever_its_rows_are_tried() -> None:
    assert tried(measured(fixed_s=0.004, each_s=0.0001)).tried_ms == (2.0, 8.0)


def test_what_the_objective_has_no_time_for_is_not_tried() -> None:
    row = measured(fixed_s=0.004, each_s=0.0001)
    assert tried(row, slo_s=0.02).tried_ms == (2.0,)
    assert tried(row, slo_s=0.004) == Lingers(why_not="the objective leaves no time for it")


@pytest.mark.parametrize(
    ("row", "batch", "max_batch", "words"),
    [
        (measured(fixed_s=0.001, each_s=0.004), 1.0, 32, "hardly less in a larger batch"),
        (measured(fixed_s=0.004, each_s=0.0001), 1.0, 1, "hardly less in a larger batch"),
        (measured(fixed_s=0.004, each_s=0.0001), 30.0, 32, "full without"),
        (measured(fixed_s=0.00005, each_s=0.000001), 1.0, 32, "over sooner"),
    ],
    ids=["no fixed part", "single rows", "full batches", "short runs"],
)
def test_where_it_cannot_pay_it_is_said_why(
    row: Measured, batch: float, max_batch: int, words: str
) -> None:
    found = tried(row, batch, max_batch)
    assert found.tried_ms == ()
    assert words in found.why_not


@pytest.mark.slow  # it plays thousands of requests
def test_the_best_of_a_model_with_large_calls_is_played_with_waits_unless_one_is_set() -> None:
    rows = [measured(fixed_s=0.008, each_s=0.0001)]
    played = {one.candidate.linger_ms for one in forecasts(rows, SETTING, 1)}
    assert played > {0.0}
    own = replace(SETTING, linger_ms=3.0)
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
