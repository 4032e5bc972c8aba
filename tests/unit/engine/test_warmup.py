"""What warm-up finds out: batching, sizes, shapes, ties."""

from __future__ import annotations

import hashlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engine import backends, warmup
from headrace.engine.backends.contract import Instance, Model
from headrace.engine.item_shapes import make
from headrace.engine.rewarm import warm_again
from headrace.engine.timing import timed
from headrace.engine.warmup import SIZES, Warm, warm_up
from headrace.engine_control import Measurement
from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec

ROWS = "inputs: {x: [FP32, [null, 4]]}\noutputs: {y: [FP32, [null, 4]]}\n"
TOKENS = "inputs: {ids: [INT64, [null, null]]}\noutputs: {hidden: [FP32, [null, null]]}\n"


def double(folder: Path, text: str) -> Model:
    path = folder / "model.fake"
    path.write_text(text)
    return backends.load(path, ModelSettings())[1]


def warm(model: Model, instances: int = 1, **settings: object) -> tuple[Warm, list[str]]:
    """Warm a model up; return what was found out and what was told of it."""
    told: list[str] = []
    lanes = [model.instance() for _ in range(instances)]
    chosen = ModelSettings.model_validate({"max_batch": 4, **settings})
    return warm_up(model, lanes, chosen, told.append), told


class Counted:
    """A model that notes the shapes it ran at, and does with its input what it is told."""

    fixed_sizes = True
    integer_bits = 64
    precision = "f32"

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.lanes: list[list[tuple[int, ...]]] = []

    def instance(self) -> Instance:
        shapes: list[tuple[int, ...]] = []
        self.lanes.append(shapes)
        return Lane(self, shapes)

    def answer(self, x: Array) -> Array:
        return x


class Lane:
    """One lane of a ``Counted``."""

    def __init__(self, model: Counted, shapes: list[tuple[int, ...]]) -> None:
        self._model = model
        self._shapes = shapes

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        x = inputs["x"]
        y = self._model.answer(x)
        self._shapes.append(x.shape)
        return {"y": y}


def signature(shape: Sequence[int | None], *, batched: bool = True) -> Signature:
    spec = TensorSpec("x", DType.FP32, tuple(shape))
    return Signature((spec,), (TensorSpec("y", DType.FP32, tuple(shape)),), batched)


# -- sizes -----------------------------------------------------------------------------------------


def test_sizes_grow_by_at_most_a_half() -> None:
    assert SIZES[:2] == (1, 2)
    assert SIZES[-1] == 4096  # the largest max_batch there may be
    assert all(before < after <= 1.5 * before for before, after in pairwise(SIZES[1:]))


def test_sizes_up_to_the_largest_batch_are_run_and_timed(tmp_path: Path) -> None:
    found, told = warm(double(tmp_path, ROWS + "base_ms: 2\n"), max_batch=6)
    assert found.batch_sizes == (1, 2, 3, 4, 6)
    assert [(point.rows, point.elements) for point in found.measurements] == [
        (size, 4) for size in found.batch_sizes
    ]
    assert all(0.002 <= point.median_s <= point.p95_s for point in found.measurements)
    assert found.output_bytes == 6 * 4 * 4
    assert "batches up to 6" in told[-1]


def clock(monkeypatch: pytest.MonkeyPatch, run_s: Callable[[int], float]) -> None:
    """Let a run of so many rows take so long, by a clock of our own."""

    def timed(_: Instance, inputs: Mapping[str, Array], __: float = 0.0) -> list[float]:
        return [run_s(len(inputs["x"]))] * 5

    monkeypatch.setattr(warmup, "timed", timed)


def test_larger_batches_that_do_not_pay_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, lambda rows: 0.002 * rows**2)
    found, _ = warm(Counted(signature((None, 4))), max_batch=64)
    assert found.batch_sizes == (1, 2, 3)


def test_a_disturbance_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has a core while batches of 2 and 3 are timed for the first time."""
    disturbed = [2, 3]

    def run_s(rows: int) -> float:
        times = 1
        if rows in disturbed:
            disturbed.remove(rows)
            times = 3
        return times * (0.001 + 0.0005 * rows)

    clock(monkeypatch, run_s)
    found, _ = warm(Counted(signature((None, 4))), max_batch=8)
    assert found.batch_sizes == (1, 2, 3, 4, 6, 8)
    one, two, three, *_ = (point.median_s for point in found.measurements)
    assert two < 1.5 * one
    assert three < 1.5 * two


def test_a_batch_that_takes_half_the_objective_is_too_large(tmp_path: Path) -> None:
    model = double(tmp_path, ROWS + "per_row_ms: 20\n")
    assert warm(model, slo_ms=60)[0].batch_sizes == (1,)
    # The first size stays, however slow.
    assert warm(model, slo_ms=1)[0].batch_sizes == (1,)


def test_the_time_there_is_to_time_sizes_is_shared_among_shapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock(monkeypatch, lambda rows: 0.1 + 0.002 * rows)  # 12 s are 24 rounds of a size
    buckets = {"x": {1: (4, 8, 12, 16, 20, 24)}}
    found, _ = warm(Counted(signature((None, None))), buckets=buckets, max_batch=64)
    assert found.batch_sizes[:3] == (1, 2, 3)


class Bounded(Counted):
    """A model exported with at most so many rows, or with none at all."""

    def __init__(self, most: int) -> None:
        super().__init__(signature((None, 4)))
        self.most = most

    def answer(self, x: Array) -> Array:
        if len(x) > self.most:
            raise InferenceFailed(f"batch must be at most {self.most}")
        return x


def test_a_size_that_does_not_run_ends_the_search() -> None:
    found, told = warm(Bounded(5), instances=2, max_batch=64)
    assert found.signature.batched
    assert found.batch_sizes == (1, 2, 3, 4)
    assert [point.rows for point in found.measurements] == [1, 2, 3, 4]
    assert "does not run 6 rows together: batch must be at most 5" in told


def test_a_model_that_runs_at_no_size_does_not_load() -> None:
    with pytest.raises(InferenceFailed, match="at most 0"):
        warm(Bounded(0), warm_shapes={"x": [[1, 4]]}, batched=False)


def test_a_model_that_does_not_batch_is_timed_as_it_is(tmp_path: Path) -> None:
    text = "inputs: {x: [FP32, [2, 3]]}\noutputs: {y: [FP32, [2, 3]]}\n"
    found, _ = warm(double(tmp_path, text), max_batch=64)
    assert not found.signature.batched
    assert found.batch_sizes == (1,)
    assert [(point.rows, point.elements) for point in found.measurements] == [(1, 6)]


def test_every_instance_runs_every_size_at_every_shape() -> None:
    model = Counted(signature((None, None)))
    found, _ = warm(model, instances=3, buckets={"x": {1: (4, 8)}})
    wanted = {(size, length) for size in found.batch_sizes for length in (4, 8)}
    assert len(model.lanes) == 3
    for shapes in model.lanes:
        assert wanted <= set(shapes)


# -- batching --------------------------------------------------------------------------------------


def test_rows_that_do_not_touch_share_runs(tmp_path: Path) -> None:
    assert warm(double(tmp_path, ROWS))[0].signature.batched
    assert warm(double(tmp_path, ROWS), batched=True)[0].signature.batched


class Neighbourly(Counted):
    """A row's output depends on the rows beside it."""

    def answer(self, x: Array) -> Array:
        return np.asarray(x + x.sum(axis=0, keepdims=True))


class Crossed(Counted):
    """A row for each, of its likeness to all that are there."""

    def answer(self, x: Array) -> Array:
        return np.asarray(x @ x.T)


class Summed(Counted):
    """Numbers of one row are added to those of the next."""

    def answer(self, x: Array) -> Array:
        return x.cumsum(axis=0)


class Rounded(Counted):
    """Once in a while a row has another number beside a neighbour, where two are as good."""

    def answer(self, x: Array) -> Array:
        return np.full_like(x, len(x) if not self.lanes[0] else 7)


class Halving(Counted):
    """Two rows go in, one comes out."""

    def answer(self, x: Array) -> Array:
        return x[: (len(x) + 1) // 2]


class Alone(Counted):
    """It runs one row only."""

    def answer(self, x: Array) -> Array:
        if len(x) > 1:
            raise InferenceFailed("one row only")
        return x


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Neighbourly, "output 'y' of a row depends on its neighbour"),
        (Crossed, r"output 'y' has shape \(1, 2\) beside a neighbour"),
        (Halving, r"output 'y' has shape \(1, 4\) for two rows"),
        (Alone, "two rows together fail: one row only"),
    ],
)
def test_rows_that_may_not_share_a_run_are_run_alone(kind: type[Counted], reason: str) -> None:
    found, told = warm(kind(signature((None, 4))))
    assert not found.signature.batched
    assert found.batch_sizes == (1,)
    assert any(line.startswith("requests do not share runs: ") for line in told)
    assert re.match(reason, found.alone)
    with pytest.raises(ModelLoadError, match=f"the card says batched: true, but {reason}"):
        warm(kind(signature((None, 4))), batched=True)


@pytest.mark.parametrize("dtype", [DType.INT64, DType.UINT8, DType.BF16, DType.FP64])
def test_rows_of_any_numbers_are_looked_at(dtype: DType) -> None:
    spec = TensorSpec("x", dtype, (None, 4))
    kinds = Signature((spec,), (TensorSpec("y", dtype, (None, 4)),), batched=True)
    assert not warm(Summed(kinds))[0].signature.batched
    assert warm(Counted(kinds))[0].signature.batched


def test_whole_numbers_that_differ_once_do_not_keep_rows_apart() -> None:
    spec = TensorSpec("x", DType.INT64, (None, 4))
    rounded = Rounded(Signature((spec,), (TensorSpec("y", DType.INT64, (None, 4)),), batched=True))
    assert warm(rounded)[0].signature.batched


def test_of_many_whole_numbers_a_few_may_differ_each_time() -> None:
    """As of the classes of an image's points, two of which are as good here and there."""

    class Map(Counted):
        def answer(self, x: Array) -> Array:
            classes = np.zeros((len(x), 500), np.int64)
            classes[:, 7] = len(x)
            return classes

    spec = TensorSpec("x", DType.FP32, (None, 4))
    kinds = Signature((spec,), (TensorSpec("y", DType.INT64, (None, 500)),), batched=True)
    assert warm(Map(kinds))[0].signature.batched


def test_a_model_that_takes_no_zeros_is_tried_with_ones() -> None:
    class Ones(Counted):
        def answer(self, x: Array) -> Array:
            if not x.all():
                raise InferenceFailed("no zeros")
            return x

    spec = TensorSpec("x", DType.INT64, (None, 4))
    kinds = Signature((spec,), (TensorSpec("y", DType.INT64, (None, 4)),), batched=True)
    assert warm(Ones(kinds))[0].signature.batched


def test_an_input_without_axes_is_warmed_up_as_it_is() -> None:
    specs = (TensorSpec("x", DType.FP32, ()),), (TensorSpec("y", DType.FP32, ()),)
    kinds = Signature(*specs, batched=False)
    model = Counted(kinds)
    warm(model)
    assert set(model.lanes[0]) == {()}


def test_a_model_that_runs_nothing_made_up_is_batched_where_its_card_says_so() -> None:
    """As one that decodes images, parses JSON or looks numbers up."""

    class Never(Counted):
        def answer(self, x: Array) -> Array:
            raise InferenceFailed("no image")

    found, told = warm(Never(signature((None, 4))), batched=True)
    assert found.signature.batched
    assert (found.batch_sizes, found.measurements) == ((1, 2, 3, 4), ())
    assert "it starts cold" in told[-1]
    found, _ = warm(Never(signature((None, 4))))
    assert not found.signature.batched


def test_the_card_may_forbid_batching(tmp_path: Path) -> None:
    found, _ = warm(double(tmp_path, ROWS), batched=False)
    assert not found.signature.batched
    assert found.batch_sizes == (1,)


def test_the_card_cannot_make_a_fixed_axis_a_batch_axis(tmp_path: Path) -> None:
    text = "inputs: {x: [FP32, [1, 4]]}\noutputs: {y: [FP32, [1, 4]]}\n"
    with pytest.raises(ModelLoadError, match="axis 0 of some input or output is fixed"):
        warm(double(tmp_path, text), batched=True)


# -- shapes and ties -------------------------------------------------------------------------------


def test_free_axes_are_warmed_up_at_every_bucket_and_tied(tmp_path: Path) -> None:
    found, told = warm(double(tmp_path, TOKENS + "base_ms: 1\n"), buckets={"ids": {1: (16, 4)}})
    assert {point.elements for point in found.measurements} == {4, 16}
    assert found.signature.inputs[0].shape == (None, "ids.1")
    assert found.signature.outputs[0].shape == (None, "ids.1")
    assert found.batch_sizes[0] == 1
    assert [line for line in told if "of 2" in line] == told[-2:]


def test_an_output_that_does_not_follow_an_input_is_not_tied(tmp_path: Path) -> None:
    text = "inputs: {ids: [INT64, [null, null]], n: [INT64, [null, null]]}\n"
    text += "outputs: {a: [INT64, [null, null]], b: [INT64, [null, null]]}\n"
    found, _ = warm(double(tmp_path, text), buckets={"ids": {1: (4, 8)}})
    assert [spec.shape for spec in found.signature.outputs] == [(None, "ids.1"), (None, None)]


@pytest.mark.parametrize("more", [{}, {"warm_shapes": {"ids": [[6]]}}])
def test_an_axis_of_one_padded_size_is_tied(tmp_path: Path, more: dict[str, Any]) -> None:
    found, _ = warm(double(tmp_path, TOKENS), buckets={"ids": {1: (16,)}}, **more)
    assert found.signature.outputs[0].shape == (None, "ids.1")
    assert {point.elements for point in found.measurements} == {6 if more else 16}


def test_each_padded_axis_is_tied_to_its_own(tmp_path: Path) -> None:
    text = "inputs: {ids: [INT64, [null, null]], n: [INT64, [null, null]]}\n"
    text += "outputs: {a: [INT64, [null, null]], b: [INT64, [null, null]]}\n"
    buckets = {"ids": {1: (4, 8)}, "n": {1: (3,)}}
    found, _ = warm(double(tmp_path, text), buckets=buckets)
    assert [spec.shape for spec in found.signature.outputs] == [(None, "ids.1"), (None, "n.1")]


def test_a_model_that_runs_at_its_padded_size_only_is_not_tied() -> None:
    class Picky(Counted):
        def answer(self, x: Array) -> Array:
            if x.shape[1] != 16:
                raise InferenceFailed("only 16")
            return x

    found, _ = warm(Picky(signature((None, None))), buckets={"x": {1: (16,)}})
    assert found.signature.outputs[0].shape == (None, None)


def test_shapes_named_by_the_card_are_used_in_step() -> None:
    model = Counted(signature((None, None)))
    found, _ = warm(model, warm_shapes={"x": [[5], [7]]})
    assert {point.elements for point in found.measurements} == {5, 7}
    assert {shape[1] for shape in model.lanes[0]} == {5, 7}


def test_a_free_axis_nobody_described_is_guessed() -> None:
    class Picky(Counted):
        def answer(self, x: Array) -> Array:
            if x.shape[1] != 224:
                raise InferenceFailed("only 224")
            return x

    found, _ = warm(Picky(signature((None, None))))
    assert {point.elements for point in found.measurements} == {224}
    assert found.signature.batched


def test_a_model_that_runs_at_no_guess_starts_cold() -> None:
    class Never(Counted):
        def answer(self, x: Array) -> Array:
            raise InferenceFailed("never")

    found, told = warm(Never(signature((None, None))), max_batch=8)
    assert found.batch_sizes == (1, 2, 3, 4, 6, 8)
    assert (found.measurements, found.output_bytes) == ((), 0)
    assert "name some under warm_shapes" in told[-1]


# -- inputs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(DType), ids=lambda dtype: dtype.value)
def test_inputs_are_made_that_any_model_takes(dtype: DType) -> None:
    spec = TensorSpec("x", dtype, (None, 3))
    (made,) = make(Signature((spec,), (), batched=True), {"x": (3,)}, 5).values()
    assert made.shape == (5, 3)
    assert made.dtype == dtype.numpy
    assert made.flags.c_contiguous
    if dtype is DType.BYTES:
        assert set(made.flat) == {b"warm"}
    elif dtype.numpy.kind in "iub":
        assert made.all()
        assert made.astype(int).max() == 1
    else:
        wide = made.astype(np.float64)
        assert ((wide >= 0) & (wide <= 1)).all()
        assert wide.std() > 0


def test_inputs_of_a_model_that_does_not_batch_have_its_own_shape() -> None:
    spec = TensorSpec("x", DType.FP32, (2, None))
    unbatched = Signature((spec,), (), batched=False)
    assert make(unbatched, {"x": (2, 7)}, 1)["x"].shape == (2, 7)


class Busy:
    """A lane that needs a core for 20 ms, or only waits for that long."""

    def __init__(self, *, computes: bool) -> None:
        self._computes = computes
        self.walls_s: list[float] = []

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        started, cpu = time.perf_counter(), time.thread_time()
        if self._computes:
            while time.thread_time() - cpu < 0.02:
                pass
        else:
            time.sleep(0.02)
        self.walls_s.append(time.perf_counter() - started)
        return inputs


@pytest.mark.alone
@pytest.mark.slow
def test_the_time_in_which_others_have_the_core_does_not_count_but_other_waits_do() -> None:
    cores, one = os.sched_getaffinity(0), {min(os.sched_getaffinity(0))}
    os.sched_setaffinity(0, one)
    rivals = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        computes, waits = Busy(computes=True), Busy(computes=False)
        told = timed(computes, {})
        assert statistics.median(told) < 0.75 * statistics.median(computes.walls_s)
        assert min(told) > 0.019
        assert min(timed(waits, {})) > 0.019
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
        os.sched_setaffinity(0, cores)


@pytest.mark.slow
def test_a_thread_that_waits_while_the_run_needs_it_not_makes_the_run_no_shorter() -> None:
    cores, ended = os.sched_getaffinity(0), threading.Event()

    def wait_for_a_core() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not ended.is_set():
            hashlib.sha256(bytes(2**20))  # without the lock of the interpreter

    waits = threading.Thread(target=wait_for_a_core)
    os.sched_setaffinity(0, {min(cores)})
    try:
        waits.start()
        assert min(timed(Busy(computes=True), {})) > 0.019
    finally:
        ended.set()
        waits.join()
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(
    ("compiled", "seconds", "ran"),
    [
        (True, {1: 0.01, 2: 0.02, 4: 0.04}, [1, 2, 4]),
        (True, {1: 0.02, 2: 0.04, 4: 0.08}, [1, 2]),
        (True, {1: 0.2, 2: 0.4, 4: 0.8}, [1]),
        (False, {1: 0.2, 2: 0.4, 4: 0.8}, [1, 2, 4]),
    ],
)
def test_a_compiled_model_is_warmed_again_where_a_first_run_would_be_noticed(
    seconds: dict[int, float], ran: list[int], *, compiled: bool
) -> None:
    model = Counted(signature((None, 4)))
    lanes = [model.instance(), model.instance()]
    points = tuple(
        Measurement(elements=4, rows=rows, median_s=median_s, p95_s=median_s)
        for rows, median_s in seconds.items()
    )
    found = Warm(model.signature, (1, 2, 4), points, 0, ({"x": (4,)},))
    warm_again(found, lanes, compiled=compiled)
    assert model.lanes == [[(rows, 4) for rows in ran]] * 2
