"""Warm-up at shapes that clients have sent."""

from __future__ import annotations

from pathlib import Path

from headrace.engine.backends.contract import Model
from headrace.engine.item_shapes import Shapes, elements_of
from headrace.engine.seen_shapes import warm_seen
from headrace.engine.warmup import Warm, warm_up
from headrace.errors import InferenceFailed
from headrace.settings import ModelSettings
from headrace.values import Array
from tests.unit.engine.test_warmup import TOKENS, Counted, double, signature

SETTINGS = ModelSettings(max_batch=4)


def at(model: Model, *seen: Shapes, settings: ModelSettings = SETTINGS) -> tuple[Warm, list[str]]:
    """Warm a model up as ever, then at these shapes."""
    told: list[str] = []
    lanes = [model.instance(), model.instance()]
    warm = warm_up(model, lanes, settings, told.append)
    told.clear()
    return warm_seen(warm, lanes, settings, seen, told.append), told


def test_every_instance_runs_at_a_seen_shape_at_every_size_that_was_timed() -> None:
    model = Counted(signature((None, None)))
    warm, told = at(model, {"x": (37,)})
    sizes = {point.rows for point in warm.measurements if point.elements == 37}
    assert sizes
    for shapes in model.lanes[-2:]:
        assert {rows for rows, length in shapes if length == 37} == sizes
    assert told == ["warmed up at a shape seen in traffic: x [37]"]


def test_its_times_are_known_to_the_scheduler(tmp_path: Path) -> None:
    warm, _ = at(double(tmp_path, TOKENS), {"ids": (37,)})
    assert {elements_of(item) for item in warm.shapes} == {16, 37}
    assert {point.elements for point in warm.measurements} == {16, 37}


def test_the_sizes_that_may_run_stay_as_they_are() -> None:
    plain, _ = at(Counted(signature((None, None))))
    warm, _ = at(Counted(signature((None, None))), {"x": (5000,)})
    assert warm.batch_sizes == plain.batch_sizes


def test_a_shape_that_is_warm_already_is_not_warmed_again() -> None:
    warm, told = at(Counted(signature((None, None))), {"x": (16,)}, {"x": (37,)}, {"x": (37,)})
    assert [dict(item) for item in warm.shapes] == [{"x": (16,)}, {"x": (37,)}]
    assert len(told) == 1


def test_what_another_version_does_not_take_is_left_out() -> None:
    others: list[Shapes] = [{"y": (37,)}, {"x": (37, 2)}, {"x": ()}, {}, {"x": (37,), "y": (1,)}]
    warm, told = at(Counted(signature((None, None))), *others)
    assert [dict(item) for item in warm.shapes] == [{"x": (16,)}]
    assert not told
    fixed, _ = at(Counted(signature((None, 4))), {"x": (37,)})
    assert [dict(item) for item in fixed.shapes] == [{"x": (4,)}]


def test_what_no_slot_has_room_for_is_left_out() -> None:
    settings = ModelSettings(max_batch=4, slot_mib=1)
    warm, _ = at(Counted(signature((None, None))), {"x": (2**19,)}, settings=settings)
    assert [dict(item) for item in warm.shapes] == [{"x": (16,)}]


class Picky(Counted):
    """It runs at some lengths, and at others it does not."""

    def __init__(self, *lengths: int) -> None:
        super().__init__(signature((None, None)))
        self._lengths = lengths

    def answer(self, x: Array) -> Array:
        if x.shape[1] not in self._lengths:
            raise InferenceFailed(f"not at {x.shape[1]}")
        return x


def test_a_shape_at_which_it_does_not_run_is_told_and_the_next_is_tried() -> None:
    warm, told = at(Picky(16, 38), {"x": (37,)}, {"x": (38,)})
    assert [dict(item) for item in warm.shapes] == [{"x": (16,)}, {"x": (38,)}]
    assert told[0] == "a shape seen in traffic does not run: not at 37"


def test_a_model_that_would_start_cold_starts_warm_at_what_clients_sent() -> None:
    cold, _ = at(Picky(37))
    assert not cold.measurements
    warm, _ = at(Picky(37), {"x": (37,)})
    assert {point.elements for point in warm.measurements} == {37}
    assert warm.batch_sizes == tuple(point.rows for point in warm.measurements)
