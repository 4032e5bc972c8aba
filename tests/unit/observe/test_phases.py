from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.observe.phases import Phases
from tests.passed import Request, run

STEP = st.floats(0, 100)


@given(st.floats(1, 1e6), STEP, STEP, STEP, STEP, STEP, STEP, STEP, STEP, STEP)
def test_the_phases_of_a_request_are_all_of_its_time(
    arrival_s: float,
    load: float,
    receive: float,
    decode: float,
    queue: float,
    assemble: float,
    lane: float,
    infer: float,
    results: float,
    encode: float,
) -> None:
    received_s = arrival_s + receive
    decoded_s = received_s + decode
    start_s = decoded_s + queue
    end_s = start_s + assemble + lane + infer
    answered_s = end_s + results
    batch = run(start_s, end_s, assemble, infer)
    request = Request(arrival_s, received_s, decoded_s, batch, answered_s, load)
    found = Phases.of(request, answered_s + encode)
    wanted = (load, receive, decode, queue, assemble, lane, infer, results, encode)
    assert tuple(found) == pytest.approx(wanted, abs=1e-6)
    assert found.total == pytest.approx(sum(wanted), abs=1e-6)


def test_a_request_that_ended_early_has_the_phases_it_reached() -> None:
    def until(now_s: float, received_s: float = 0, decoded_s: float = 0) -> dict[str, float]:
        found = Phases.of(Request(10, received_s, decoded_s), now_s)
        return {name: seconds for name, seconds in found._asdict().items() if seconds}

    assert until(12) == {"receive": 2}
    assert until(15, received_s=12) == {"receive": 2, "decode": 3}
    assert until(19, received_s=12, decoded_s=15) == {"receive": 2, "decode": 3, "queue": 4}


def test_one_whose_outputs_could_not_be_answered_ends_in_results() -> None:
    found = Phases.of(Request(10, 10, 11, run(12, 16, assemble_s=1, infer_s=2)), 20)
    assert (found.lane, found.infer, found.results, found.encode) == (1, 2, 4, 0)


def test_what_the_receiver_missed_of_a_run_is_not_told_twice() -> None:
    batch = run(12, 17, assemble_s=4.5, infer_s=4)
    found = Phases.of(Request(10, 10, 11, batch, answered_s=18), 19)
    assert (found.assemble, found.lane, found.infer) == (1, 0, 4)
    assert found.total == 9


def test_the_header_is_in_milliseconds() -> None:
    assert Phases(decode=0.001, infer=0.0205).server_timing() == (
        b"load;dur=0.000, receive;dur=0.000, decode;dur=1.000, queue;dur=0.000, "
        b"assemble;dur=0.000, lane;dur=0.000, infer;dur=20.500, results;dur=0.000, "
        b"encode;dur=0.000, total;dur=21.500"
    )
