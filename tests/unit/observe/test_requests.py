"""What is counted of requests: the usual ones many at a time, the others one by one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.observe.requests import OTHER, PHASES, Requests
from tests.passed import Request, run

STEPS = st.tuples(*[st.floats(0.001, 50)] * 7)
SEVEN = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# More than are put down before they are counted.
MANY = 2500


def end(requests: Requests, steps: Iterable[float], priority: int = 0, outcome: str = "ok") -> None:
    """Count a request of so many seconds in receive, decode, queue, run, results and encode."""
    arrival_s, receive, decode, queue, infer, results, encode = steps
    received_s = arrival_s + receive
    decoded_s = received_s + decode
    start_s = decoded_s + queue
    end_s = start_s + infer
    answered_s = end_s + results
    batch = run(start_s, end_s, infer_s=infer)
    one = Request(arrival_s, received_s, decoded_s, batch, answered_s, priority=priority)
    requests.ended(one, outcome, answered_s + encode)


def told(requests: Requests) -> dict[str, tuple[list[int], float]]:
    return {name: (one.counts, one.total) for name, one in requests.phases.items()}


@given(st.lists(STEPS, min_size=1, max_size=30))
def test_usual_requests_count_as_others_do(times: list[tuple[float, ...]]) -> None:
    usual, others = Requests(), Requests()
    for steps in times:
        end(usual, steps)
        end(others, steps, priority=-5)
    for phase, (counts, total) in told(others).items():
        assert told(usual)[phase][0] == counts
        assert told(usual)[phase][1] == pytest.approx(total)
    assert usual.took[0, "ok"].counts == others.took[-5, "ok"].counts


def test_each_phase_has_its_time() -> None:
    requests = Requests()
    for _ in range(MANY):
        end(requests, SEVEN)
    found = {name: total / MANY for name, (counts, total) in told(requests).items() if any(counts)}
    assert found == {
        "receive": 1.0,
        "decode": 2.0,
        "queue": 4.0,
        "results": 16.0,
        "encode": 32.0,
        "total": 63.0,
    }
    assert sum(requests.took[0, "ok"].counts) == MANY


def test_who_looks_sees_all_that_have_ended() -> None:
    requests = Requests()
    for count in range(1, MANY):
        end(requests, SEVEN)
        if count % 333 == 1:
            assert sum(requests.phases["total"].counts) == count
            assert sum(requests.took[0, "ok"].counts) == count


@pytest.mark.parametrize(
    ("request_", "reached"),
    [
        (Request(2.0), {}),
        (Request(2.0, 3.0), {}),
        (Request(2.0, 3.0, 5.0), {"receive": 1.0, "decode": 2.0}),
        (Request(2.0, 3.0, 5.0, run(9.0, 11.0)), {"receive": 1.0, "decode": 2.0, "queue": 4.0}),
    ],
)
def test_a_request_that_failed_has_the_phases_that_it_came_to_the_end_of(
    request_: Request, reached: dict[str, float]
) -> None:
    requests = Requests()
    requests.ended(request_, "shed", 12.0)
    assert {name: total for name, (counts, total) in told(requests).items() if any(counts)} == (
        reached
    )
    assert (requests.failed_s, requests.took[0, "shed"].total) == (10.0, 10.0)


def test_the_wait_for_a_model_is_a_phase_of_those_that_had_to() -> None:
    requests = Requests()
    requests.ended(Request(1.0, 1.0, 1.0, run(1.0, 2.0), 2.0, load_s=7.0), "ok", 2.0)
    assert requests.phases["load"].total == 7.0
    assert requests.phases["total"].total == requests.took[0, "ok"].total == 8.0
    requests.ended(Request(1.0, load_s=7.0), "shed", 2.0)
    assert requests.failed_s == requests.took[0, "shed"].total == 8.0
    assert set(PHASES) == set(requests.phases)


def test_a_question_about_a_model_is_no_request_of_it() -> None:
    requests = Requests()
    requests.ended(Request(1.0, 1.0), "ok", 1.5)
    assert not requests.took
    assert requests.failed_s == 0.0
    assert not any(requests.phases["total"].counts)


def test_one_that_had_its_outputs_and_nobody_to_take_them_was_not_answered() -> None:
    requests = Requests()
    end(requests, SEVEN, outcome="cancelled")
    assert requests.failed_s == 63.0
    assert not any(requests.phases["total"].counts)
    assert requests.phases["results"].total == 16.0


def test_the_normal_priority_has_its_own_count_however_many_came_before() -> None:
    requests = Requests()
    for priority in range(1, 30):
        end(requests, SEVEN, priority=priority)
    end(requests, SEVEN)
    end(requests, SEVEN, outcome="shed")
    assert (0, "ok") in requests.took
    assert (0, "shed") in requests.took
    assert sum(requests.took[OTHER, "ok"].counts) == 13
