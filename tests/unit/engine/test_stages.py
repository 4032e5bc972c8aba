"""An instance of several lanes is one instance: in number, in time, and for the gate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.gate import Gate
from headrace.engine.stages import Shift, lanes_of
from tests.unit.engine.doubles import Staged
from tests.unit.engine.test_gate import Visitor


def test_the_lanes_of_an_instance_are_side_by_side() -> None:
    lanes = [lane for lane in lanes_of(Staged(stages=2), 2) if isinstance(lane, Staged.Lane)]
    assert [(lane.instance, lane.stage) for lane in lanes] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_run_takes_what_it_had_the_instance_for_itself() -> None:
    shift = Shift()
    assert shift.took(0, 10) == 10
    assert shift.took(5, 20) == 10  # the first five were the other lane's
    assert shift.took(30, 35) == 5
    assert shift.took(31, 33) == 0  # told late: it had ended before


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50)), max_size=50))
def test_all_runs_together_take_no_longer_than_there_was_time(
    runs: list[tuple[int, int]],
) -> None:
    shift = Shift()
    spans = [(began, began + length) for began, length in runs]
    taken = [shift.took(began, ended) for began, ended in spans]
    busy = {moment for began, ended in spans for moment in range(began, ended)}
    assert all(
        0 <= took <= ended - began for took, (began, ended) in zip(taken, spans, strict=True)
    )
    assert sum(taken) <= len(busy)


def test_the_gate_lets_in_all_lanes_of_an_instance() -> None:
    gate = Gate(4, stages=2)
    gate.resize(1)
    first, second = Visitor(gate), Visitor(gate)
    assert first.is_in.wait(10)
    assert second.is_in.wait(10)
    third = Visitor(gate)
    assert not third.is_in.wait(0.02)
    for one in (first, second, third):
        one.end()
