"""Cores are given to an engine, are its until its version has ended, and shared with a word."""

from __future__ import annotations

from structlog.testing import capture_logs

from headrace.loader.allotment import Allotment, here
from headrace.settings import ModelSettings, Placement
from tests.unit.machines import machine

TWO = ModelSettings(instances=2, placement=Placement.CORES)


def test_an_engine_that_is_started_again_gets_the_same_cores() -> None:
    allotment = Allotment(1, lambda: machine(1, 8))
    first = allotment.give("a", "a", TWO)
    other = allotment.give("b", "b", TWO)
    assert not {*first[0], *first[1]} & {*other[0], *other[1]}
    assert allotment.give("a", "a", TWO) == first


def test_what_is_taken_back_is_free() -> None:
    allotment = Allotment(1, lambda: machine(1, 8))
    first = allotment.give("a", "a", TWO)
    allotment.take_back("a")
    assert allotment.give("b", "b", TWO) == first


def test_a_model_without_a_placement_has_no_cores() -> None:
    assert Allotment(1).give("a", "a", ModelSettings(instances=2)) == ()


def test_cores_that_are_shared_are_told() -> None:
    allotment = Allotment(1, lambda: machine(1, 2))
    with capture_logs() as logs:
        allotment.give("a", "a", TWO)
        assert not logs
        allotment.give("b", "b", TWO)
    assert [(log["event"], log["model"], log["cores"]) for log in logs] == [
        ("cores_shared", "b", "0-1")
    ]


def test_an_engine_is_not_placed_where_its_machine_has_become_too_small() -> None:
    with capture_logs() as logs:
        assert Allotment(1, lambda: machine(1, 1)).give("a", "a", TWO) == ()
    assert logs[0]["event"] == "not_placed"


def test_this_machine_has_processors() -> None:
    assert here().largest_node >= 1
