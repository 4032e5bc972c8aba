"""So many lanes are in at a time, whatever happens to the number."""

from __future__ import annotations

import threading

import pytest

from headrace.engine.gate import Gate


class Visitor:
    """A thread that goes in, says so, and stays until it is sent away."""

    def __init__(self, gate: Gate) -> None:
        self.is_in = threading.Event()
        self._gate = gate
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        self._gate.enter()
        self.is_in.set()
        self._leave.wait(10)
        self._gate.leave()

    def end(self) -> None:
        self._leave.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_one_more_waits_until_somebody_leaves() -> None:
    gate = Gate(2)
    first, second = Visitor(gate), Visitor(gate)
    assert first.is_in.wait(10)
    assert second.is_in.wait(10)
    third = Visitor(gate)
    assert not third.is_in.wait(0.02)
    first.end()
    assert third.is_in.wait(10)
    second.end()
    third.end()


def test_fewer_hold_up_who_comes_and_more_let_in_who_waits() -> None:
    gate = Gate(2)
    gate.resize(1)
    first = Visitor(gate)
    assert first.is_in.wait(10)
    second = Visitor(gate)
    assert not second.is_in.wait(0.02)
    gate.resize(2)
    assert second.is_in.wait(10)
    first.end()
    second.end()


def test_a_batch_runs_on_the_idle_instance_and_on_one_of_those_that_are_wanted() -> None:
    gate = Gate(4, stages=2)
    assert [gate.take(0), gate.take(1)] == [0, 2]
    gate.end(0)
    gate.end(2)
    gate.resize(1)
    assert [gate.take(0), gate.take(2)] == [0, 1]


@pytest.mark.parametrize(("lanes", "stages"), [(4, 1), (2, 2), (1, 1)])
def test_where_there_is_no_choice_a_batch_runs_where_it_came(lanes: int, stages: int) -> None:
    gate = Gate(lanes, stages)
    gate.resize(1)
    assert [gate.take(lane) for lane in range(lanes)] == list(range(lanes))
