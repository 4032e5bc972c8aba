"""One plan cut up and put together again is the plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.load.arrivals import Arrivals, poisson
from headrace.load.plan import ClosedLoop, OpenLoop
from headrace.load.result import NOT_SENT, OK, TIMEOUT, Answer, Outcome, Result
from headrace.load.share import divide, unite


@given(st.lists(st.floats(0, 9), min_size=8), st.integers(1, 8))
def test_senders_together_send_what_one_would(times_s: list[float], senders: int) -> None:
    plan = OpenLoop(Arrivals(np.sort(times_s), 10.0), max_outstanding=100)
    parts = [part for part in divide(plan, senders) if isinstance(part, OpenLoop)]
    assert len(parts) == senders
    together = np.sort(np.concatenate([part.arrivals.times_s for part in parts]))
    np.testing.assert_array_equal(together, plan.arrivals.times_s)
    assert sum(part.max_outstanding for part in parts) >= 100
    lengths = [len(part.arrivals) for part in parts]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 100), st.integers(1, 100))
def test_callers_are_shared_out_evenly(callers: int, senders: int) -> None:
    senders = min(callers, senders)
    parts = divide(ClosedLoop(callers, 1.0), senders)
    found = [part.concurrency for part in parts if isinstance(part, ClosedLoop)]
    assert sum(found) == callers
    assert max(found) - min(found) <= 1


@pytest.mark.parametrize(("requests", "needed"), [(0, 1), (1, 1), (2, 2), (4, 3)])
def test_senders_that_would_send_nothing_are_not_needed(requests: int, needed: int) -> None:
    parts = divide(OpenLoop(Arrivals(np.zeros(requests), 1.0)), 3)
    assert len(parts) == needed
    assert sum(len(part.arrivals) for part in parts if isinstance(part, OpenLoop)) == requests


def _result(times_s: list[float], outcomes: list[Outcome], names: tuple[Outcome, ...]) -> Result:
    at = np.array(times_s)
    return Result(
        intended_s=at,
        sent_s=at + 0.1,
        done_s=at + 0.2,
        outcome=np.array([names.index(one) for one in outcomes], np.uint16),
        outcomes=names,
        answers={1: Answer({}, str(times_s[1]).encode())},
        started_s=7.0,
        duration_s=1.0,
        cpu_s=0.5,
    )


def test_results_are_united_in_the_order_of_their_times_and_keep_their_outcomes() -> None:
    first = _result([0.0, 0.4, 0.6], [OK, TIMEOUT, OK], (OK, TIMEOUT))
    second = _result([0.2, 0.4], [NOT_SENT, TIMEOUT], (OK, NOT_SENT, TIMEOUT))
    united = unite([first, second])
    assert united.intended_s.tolist() == [0.0, 0.2, 0.4, 0.4, 0.6]
    found = [united.outcomes[number] for number in united.outcome]
    assert found == [OK, NOT_SENT, TIMEOUT, TIMEOUT, OK]
    np.testing.assert_allclose(united.sent_s - united.intended_s, 0.1)
    np.testing.assert_allclose(united.done_s - united.intended_s, 0.2)
    assert united.queues_s.tolist() == [0.0] * 5
    waited = replace(second, queued_s=np.array([0.1, 0.2]))
    assert unite([first, waited]).queues_s.tolist() == [0.0, 0.1, 0.0, 0.2, 0.0]
    assert united.answers == {2: Answer({}, b"0.4")}
    assert (united.cpu_s, united.started_s, united.duration_s) == (1.0, 7.0, 1.0)


def test_the_result_of_one_sender_is_left_as_it_is() -> None:
    one = _result([0.0, 0.4], [OK, OK], (OK,))
    assert unite([one]) is one


def test_a_plan_for_one_sender_is_the_plan() -> None:
    plan = OpenLoop(poisson(100, 1, 1))
    (part,) = divide(plan, 1)
    assert isinstance(part, OpenLoop)
    np.testing.assert_array_equal(part.arrivals.times_s, plan.arrivals.times_s)
