"""Models that take turns in the receiver: who is told to look for a batch, and when."""

from __future__ import annotations

import math

from headrace.receiver.run.turns import Devices, Place, Turns


class Model:
    """Has batches of a second to run, on all of the device."""

    def __init__(self, turns: Turns, batches: int, lanes: int = 1) -> None:
        self.place: Place = turns.place(1.0, lanes, 1, None)
        self.waiting = batches
        self.running = 0
        self.looks = 0

    def serve(self) -> None:
        self.place.join(self.look)

    def look(self, now_s: float) -> None:
        self.looks += 1
        turn = self.place.turn
        while self.waiting:
            if turn.shared and not turn.may_start(now_s, 1.0, math.inf, ahead=False):
                return
            self.waiting -= 1
            self.running += 1
            if turn.shared:
                turn.started(self.waiting, now_s, 1.0, waits=False)
        turn.pass_by()

    def end(self, now_s: float) -> None:
        self.running -= 1
        self.place.turn.ended(self.waiting, now_s, 1.0)
        self.look(now_s)
        self.place.go_on(now_s)


def test_when_a_batch_ends_the_model_whose_turn_it_is_goes_on() -> None:
    turns = Turns(1)
    first, second = Model(turns, 3), Model(turns, 3)
    first.serve()
    second.serve()
    first.look(0.0)
    second.look(0.0)
    assert (first.running, second.running) == (1, 0)
    first.end(1.0)
    assert (first.running, second.running) == (0, 1)
    second.end(2.0)
    assert (first.running, second.running) == (1, 0)


def test_whoever_waits_goes_on_when_the_other_leaves() -> None:
    turns = Turns(1)
    first, second = Model(turns, 1), Model(turns, 3)
    first.serve()
    second.serve()
    first.look(0.0)
    second.look(0.0)
    assert second.running == 0
    first.place.leave()
    assert second.running == 3  # it is alone: nobody limits it but itself
    first.place.leave()
    assert second.looks == 2


def test_more_instances_than_cores_are_not_held_up_by_their_own_number() -> None:
    turns = Turns(2)
    many, other = Model(turns, 8, lanes=8), Model(turns, 0)
    many.serve()
    other.serve()
    many.look(0.0)
    assert many.running == 8


def test_nobody_is_asked_while_a_model_is_alone() -> None:
    turns = Turns(1)
    alone = Model(turns, 2)
    alone.serve()
    alone.serve()  # its engine has come back
    alone.place.go_on(0.0)
    assert alone.looks == 0
    assert not alone.place.turn.shared


def test_models_on_different_devices_do_not_wait_for_each_other() -> None:
    devices = Devices(1)
    models = [Model(devices.turns(name), 2) for name in ("cpu", "cuda:0", "cuda:1", "cuda:0")]
    for one in models:
        one.serve()
    for one in models:
        one.look(0.0)
    assert [one.running for one in models] == [2, 1, 2, 0]
