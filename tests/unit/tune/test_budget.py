"""The time of each step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.tune.budget import Budget

BUDGET = Budget(1000.0, 240.0)


@given(st.floats(0, 1000))
def test_what_may_be_begun_ends_in_the_order_of_the_steps(spent_s: float) -> None:
    now_s = 1000.0 + spent_s
    allowed = [BUDGET.may_profile(now_s), BUDGET.may_forecast(now_s), BUDGET.may_race(now_s)]
    assert allowed == sorted(allowed)
    assert 0 <= BUDGET.race_s(now_s) <= BUDGET.left_s(now_s) <= 240.0
    assert BUDGET.gate_s(now_s) > 0
    assert BUDGET.gate_s(now_s) <= BUDGET.most_gate_s(now_s)


@given(st.floats(0, 1000))
def test_compiling_leaves_time_to_measure_what_was_compiled(spent_s: float) -> None:
    most_s = BUDGET.build_s(1000.0 + spent_s)
    assert most_s >= 0.05 * 240.0
    assert BUDGET.may_profile(1000.0 + spent_s + most_s) or spent_s > 0.25 * 240.0


def test_at_the_start_everything_may_be_and_at_the_end_nothing() -> None:
    assert BUDGET.may_profile(1000.0)
    assert BUDGET.left_s(1000.0) == 240.0
    assert not BUDGET.may_race(1240.0)
    assert BUDGET.left_s(2000.0) == 0
    assert BUDGET.spent_s(2000.0) == 1000


def test_samples_that_decide_may_take_a_quarter_of_what_is_left() -> None:
    assert BUDGET.most_gate_s(1000.0 + 0.4 * 240.0) == 0.25 * 0.6 * 240.0
