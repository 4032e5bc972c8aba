"""Which runs replay a graph: what is captured stays, and both its number and memory have bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.backends.torch_captures import Captures, Shapes, Step

GIB = 2**30


def _never() -> int:
    raise AssertionError("nobody should ask what is free")


def test_a_shape_is_captured_once_and_replayed_from_then_on() -> None:
    captures = Captures(80 * GIB)
    shapes = ((4, 3),)
    assert captures.step(shapes, lambda: 70 * GIB) is Step.CAPTURE
    assert captures.step(shapes, lambda: 70 * GIB) is Step.CAPTURE  # it did not come to that
    captures.keep(shapes)
    assert captures.step(shapes, _never) is Step.REPLAY


@pytest.mark.parametrize(
    ("total", "free", "step"),
    [
        (80 * GIB, GIB, Step.CAPTURE),
        (80 * GIB, GIB - 1, Step.EAGER),
        (4 * GIB, GIB // 2, Step.CAPTURE),
        (4 * GIB, GIB // 2 - 1, Step.EAGER),
    ],
)
def test_memory_is_left_for_others(total: int, free: int, step: Step) -> None:
    assert Captures(total).step(((1,),), lambda: free) is step


def test_a_program_that_cannot_be_captured_is_not_tried_again_and_keeps_what_it_has() -> None:
    captures = Captures(80 * GIB)
    captures.keep(((1,),))
    captures.stop()
    assert captures.step(((2,),), lambda: 80 * GIB) is Step.EAGER
    assert captures.step(((1,),), _never) is Step.REPLAY


def test_shapes_without_room_are_not_tried_again_and_others_are() -> None:
    captures = Captures(80 * GIB, most=2)
    captures.leave(((9,),))
    assert captures.step(((9,),), lambda: 80 * GIB) is Step.EAGER
    assert captures.step(((2,),), lambda: 80 * GIB) is Step.CAPTURE
    captures.leave(((8,),))
    assert captures.step(((2,),), _never) is Step.EAGER  # as many tries as there may be graphs


@given(st.lists(st.integers(1, 20)), st.integers(0, 8))
def test_there_are_never_more_graphs_than_their_bound(rows: list[int], most: int) -> None:
    captures = Captures(80 * GIB, most)
    captured: set[Shapes] = set()
    for count in rows:
        shapes = ((count, 3),)
        step = captures.step(shapes, lambda: 80 * GIB)
        assert (step is Step.REPLAY) == (shapes in captured)
        if step is Step.CAPTURE:
            captures.keep(shapes)
            captured.add(shapes)
        assert len(captured) <= most
