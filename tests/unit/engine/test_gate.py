"""So many lanes are in at a time, whatever happens to the number."""

from __future__ import annotations

import threading

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
