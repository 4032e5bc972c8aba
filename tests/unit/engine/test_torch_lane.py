"""A lane of a GPU, on a double of one: what it asks for, in which order, and what comes back."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from headrace.errors import InferenceFailed
from headrace.values import DType
from tests.contract.test_formats import needs_torch

pytestmark = needs_torch


@pytest.fixture(scope="module")
def double() -> Any:
    """Imported here, for that takes seconds."""
    return importlib.import_module("tests.unit.engine.torch_double")


def test_each_batch_size_is_captured_once_and_then_replayed(double: Any) -> None:
    gpu = double.Host()
    lane = double.lane_of(gpu)
    for seed, rows in enumerate((1, 4, 1, 4, 4, 2)):
        assert double.is_right(lane, double.inputs_of(rows, seed))
    assert gpu.asked.count("capture") == 3
    assert gpu.asked.count("replay") == 6


def test_a_run_waits_once_and_last(double: Any) -> None:
    gpu = double.Host()
    lane = double.lane_of(gpu)
    lane.run(double.inputs_of(2))
    gpu.asked.clear()
    lane.run(double.inputs_of(2))
    assert gpu.asked == ["turn", "replay", "computed", "wait"]


def test_shapes_that_come_too_late_run_without_a_graph_and_answer_the_same(double: Any) -> None:
    gpu = double.Host()
    lane = double.lane_of(gpu, most=1)
    for seed, rows in enumerate((3, 5, 5, 3)):
        assert double.is_right(lane, double.inputs_of(rows, seed))
    assert gpu.asked.count("capture") == 1
    assert gpu.asked.count("replay") == 2
    gpu.free = 0
    assert double.is_right(double.lane_of(gpu), double.inputs_of(2))


def test_a_program_that_cannot_be_captured_runs_without_and_is_asked_no_more(double: Any) -> None:
    refuses = RuntimeError("operation not permitted when stream is capturing")
    gpu = double.Host(refuses=refuses)
    lane = double.lane_of(gpu)
    for seed, rows in enumerate((1, 2, 1)):
        assert double.is_right(lane, double.inputs_of(rows, seed))
    assert gpu.asked.count("capture") == 1
    assert gpu.asked.count("wait") == 3


@pytest.mark.parametrize("ended", [True, False])
def test_a_graph_there_is_no_memory_for_leaves_others_to_be_captured(
    double: Any, *, ended: bool
) -> None:
    full, left = double.torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("capture")
    left.__context__ = full  # as where the capture cannot be ended after that
    gpu = double.Host(refuses=full if ended else left)
    lane = double.lane_of(gpu)
    for seed in range(2):
        assert double.is_right(lane, double.inputs_of(64, seed))
    gpu.refuses = None
    for rows in (64, 2, 2):
        assert double.is_right(lane, double.inputs_of(rows, rows))
    assert gpu.asked.count("capture") == 2
    assert gpu.asked.count("replay") == 2


def test_a_batch_that_fails_leaves_the_lane_alive_if_the_gpu_is(double: Any) -> None:
    gpu = double.Host()
    lane = double.lane_of(gpu)
    bad = {**double.inputs_of(2), "shift": np.zeros((3, 1), DType.BF16.numpy)}
    for _ in range(2):
        with pytest.raises(InferenceFailed, match="size"):
            lane.run(bad)
        assert gpu.asked.pop() == "check"
        assert double.is_right(lane, double.inputs_of(2))


def test_read_only_inputs_are_left_alone(double: Any) -> None:
    inputs = double.inputs_of(2)
    before = {name: array.copy() for name, array in inputs.items()}
    for array in inputs.values():
        array.flags.writeable = False
    lane = double.lane_of(double.Host())
    for _ in range(2):
        assert double.is_right(lane, inputs)
    assert all(np.array_equal(inputs[name], array) for name, array in before.items())


def test_the_lane_beside_has_graphs_and_outputs_of_its_own(double: Any) -> None:
    lane = double.lane_of(double.Host())
    beside = lane.beside()
    first, second = double.inputs_of(2, 1), double.inputs_of(2, 2)
    kept = lane.run(first)["y"]
    assert double.is_right(beside, second)
    assert np.array_equal(kept, first["x"] * 2 + first["shift"].astype(np.float32))


@pytest.mark.parametrize("most", [8, 0])
def test_a_batch_larger_than_what_is_pinned_is_copied_from_elsewhere(
    double: Any, most: int
) -> None:
    lane = double.lane_of(double.Host(), most=most)
    memory = bytearray(3 * 4096)
    release = lane.pin([memoryview(memory)[:4096], memoryview(memory)[8192:]])
    begins = (0, 4096 - 12, 4096, 5000, 8192 - 24)  # within, at, across and between the edges
    for one in (lane, lane.beside()):
        for _ in range(2):
            for begin in begins:
                inputs = double.inputs_of(5, begin)
                placed = np.frombuffer(memory, np.float32, 15, begin).reshape(5, 3)
                placed[:] = inputs["x"]
                assert double.is_right(one, {**inputs, "x": placed})
    release()


def test_only_areas_that_are_used_are_pinned(double: Any) -> None:
    gpu = double.Host()
    double.lane_of(gpu).pin([memoryview(bytearray(8)), memoryview(bytearray())])
    assert gpu.pinned == [8]
