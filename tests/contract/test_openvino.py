"""What OpenVINO by itself would do otherwise than a backend must."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from openvino import opset14 as ops

from headrace.engine import backends
from headrace.engine.backends import openvino_, openvino_streams
from headrace.engine.backends.contract import Instance, Model
from headrace.engine.backends.openvino_recovery import Graphs, Shapes
from headrace.engine.backends.openvino_streams import Compiled
from headrace.errors import InferenceFailed, InvalidInput, ModelLoadError
from headrace.settings import BackendName, ModelSettings
from headrace.values import Array, DType, Signature
from tests.contract import models
from tests.contract.models import node

OPENVINO = BackendName.OPENVINO


def load(path: Path, instances: int = 1, backend: BackendName = OPENVINO) -> Model:
    settings = ModelSettings(backend=backend, instances=instances)
    return backends.load(path, settings)[1]


# -- runs that fail --------------------------------------------------------------------------------


def _words(rows: int, length: int, mask: int | None = None) -> dict[str, Array]:
    return {
        "ids": np.ones((rows, length), np.int64),
        "mask": np.ones((rows, length if mask is None else mask), np.int64),
    }


def _answer(instance: Instance, rows: int, length: int) -> Array:
    return np.array(instance.run(_words(rows, length))["y"])


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("bad", [(2, 16, 8), (3, 16, 1), (1, 16, 8), (3, 8, 4)])
def test_whatever_ran_before_one_that_fails_runs_after_it(
    bad: tuple[int, int, int], lanes: int, tmp_path: Path
) -> None:
    """All that ran before has one length, as after a warm-up without buckets."""
    instance = load(models.heads(tmp_path / "m.onnx"), lanes).instance()
    right = {rows: _answer(instance, rows, 16) for rows in (1, 2, 3, 4)}
    for rows, _ in itertools.product((1, 2, 3), range(3)):
        with pytest.raises(InvalidInput):
            instance.run(_words(*bad))
        for _ in range(2 * lanes):
            np.testing.assert_array_equal(_answer(instance, rows, 16), right[rows])


@pytest.mark.parametrize("lanes", [2, 3])
def test_so_it_does_in_other_lanes_at_the_same_time(lanes: int, tmp_path: Path) -> None:
    """Where there are more of them than cores they wait for each other's streams, too."""
    model = load(models.heads(tmp_path / "m.onnx"), lanes)
    first, *others = [model.instance() for _ in range(lanes)]
    right = {rows: _answer(first, rows, 16) for rows in (1, 2, 3)}

    def bad() -> int:
        failed = 0
        for run in range(60):
            try:
                first.run(_words(run % 3 + 1, 16, (8, 1)[run % 2]))
            except InvalidInput:
                failed += 1
        return failed

    def good(instance: Instance) -> int:
        rows = [run % 3 + 1 for run in range(120)]
        return sum(np.array_equal(_answer(instance, n, 16), right[n]) for n in rows)

    with ThreadPoolExecutor(lanes) as pool:
        failed, answered = pool.submit(bad), list(pool.map(good, others))
        assert failed.result() == 60
        assert answered == [120] * len(others)


@contextlib.contextmanager
def _busy_cores() -> Iterator[None]:
    spinning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_so_it_does_on_cores_that_others_use(tmp_path: Path) -> None:
    """A stream that is not woken up in time is not passed over."""
    instance = load(models.heads(tmp_path / "m.onnx"), 2).instance()
    right = {rows: _answer(instance, rows, 16) for rows in (1, 2, 3)}
    with _busy_cores():
        for run in range(150):
            rows = run % 3 + 1
            with pytest.raises(InvalidInput):
                instance.run(_words(rows, 16, (8, 1)[run % 2]))
            for _ in range(2):
                np.testing.assert_array_equal(_answer(instance, rows, 16), right[rows])


@pytest.mark.parametrize("is_known_at_first", [False, True])
def test_a_model_whose_threads_are_not_known_is_compiled_again(
    is_known_at_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or not any more, as when one of them has ended."""
    compiled: list[Path] = []
    compiles = openvino_._compiled

    def counted(path: Path, settings: ModelSettings) -> tuple[Compiled, Signature]:
        compiled.append(path)
        return compiles(path, settings)

    monkeypatch.setattr(openvino_, "_compiled", counted)
    none = tmp_path / "none"
    if not is_known_at_first:
        monkeypatch.setattr(openvino_streams, "_TASKS", none)
    instance = load(models.heads(tmp_path / "m.onnx"), 2).instance()
    monkeypatch.setattr(openvino_streams, "_TASKS", none)
    right = _answer(instance, 3, 16)
    with pytest.raises(InvalidInput):
        instance.run(_words(2, 16, 8))
    assert len(compiled) == 2
    for _ in range(3):
        np.testing.assert_array_equal(_answer(instance, 3, 16), right)


def test_threads_of_streams_are_found_by_their_name(tmp_path: Path) -> None:
    comm = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    called = comm.read_text()
    settings = ModelSettings(backend=OPENVINO, instances=2)
    compiled, _ = openvino_._compiled(models.heads(tmp_path / "m.onnx"), settings)
    assert comm.read_text() == called
    assert len(compiled.threads) >= compiled.model.get_property("NUM_STREAMS")
    tasks = {int(task.name) for task in Path("/proc/self/task").iterdir()}
    assert set(compiled.threads) <= tasks - {threading.get_native_id()}


def test_a_model_that_ran_at_many_sizes_is_not_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(models.heads(tmp_path / "m.onnx"), 2)
    monkeypatch.setattr(openvino_, "_compiled", lambda *_: pytest.fail("it was compiled again"))
    instance = model.instance()
    for length in range(1, 40):
        for rows in (1, 2, 3, 5, 7)[length % 5 :]:
            _answer(instance, rows, length)
        with pytest.raises(InvalidInput):
            instance.run(_words(2, 16, 8))
    assert _answer(instance, 2, 16).shape[0] == 2


@pytest.mark.parametrize("bad", [(64, 48), (600, 600)])
def test_a_model_whose_axes_have_bounds_goes_on_after_a_run_that_fails(
    tmp_path: Path, bad: tuple[int, int]
) -> None:
    """No signature tells them, so what is made up may be past them."""
    ports = [
        ops.parameter(ov.PartialShape([ov.Dimension(1, 2), ov.Dimension(32, 512)]), name=name)
        for name in "ab"
    ]
    ov.save_model(ov.Model([ops.add(*ports)], ports), tmp_path / "m.xml")
    model = load(tmp_path / "m.xml", 2)
    names = [spec.name for spec in model.signature.inputs]
    instance = model.instance()

    def run(*lengths: int) -> Array:
        inputs = [np.ones((1, length), np.float32) for length in lengths]
        (found,) = instance.run(dict(zip(names, inputs, strict=True))).values()
        return np.array(found)

    for length in (32, 64):
        run(length, length)
    for _ in range(3):
        with pytest.raises(InferenceFailed):
            run(*bad)
        np.testing.assert_array_equal(run(64, 64), np.full((1, 64), 2.0))


def test_a_model_is_not_compiled_again_from_a_file_that_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.heads(tmp_path / "m.onnx")
    instance = load(path).instance()
    right = _answer(instance, 3, 12)
    _answer(instance, 2, 16)
    monkeypatch.setattr(Graphs, "_runs", lambda *_: False)  # nothing that is made up
    path.unlink()
    for _ in range(2):
        with pytest.raises(InvalidInput):
            instance.run(_words(2, 16, 8))
    np.testing.assert_array_equal(_answer(instance, 3, 12), right)


def test_what_runs_after_a_bad_token_is_as_small_as_a_small_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = load(models.attention(tmp_path / "m.onnx")).instance()
    made_up: list[int] = []
    runs = Graphs._run

    def run(graphs: Graphs, shapes: Shapes, fill: int) -> bool:
        made_up.append(sum(map(math.prod, shapes)))
        return runs(graphs, shapes, fill)

    def words(rows: int, length: int, word: int = 1) -> dict[str, Array]:
        ones = np.ones((rows, length), np.int64)
        return {"ids": ones * word, "mask": ones, "kinds": ones}

    monkeypatch.setattr(Graphs, "_run", run)
    for rows, length in ((1, 16), (256, 128), (1, 16)):
        instance.run(words(rows, length))
    for _ in range(3):
        with pytest.raises(InvalidInput, match="outside of the table"):
            instance.run(words(1, 16, 1000))
    assert 1 <= len(made_up) <= 6
    assert max(made_up) <= 3 * 4 * 16


def test_a_model_that_runs_at_one_size_only_does_so_after_others(tmp_path: Path) -> None:
    """Nothing else runs that could put its graph right."""
    path = models.write(
        tmp_path / "m.onnx",
        [node("Reshape", ["x", "sizes"], ["six"]), node("MatMul", ["six", "w"], ["y"])],
        {"x": (DType.FP32, ("N", "K"))},
        {"y": (DType.FP32, (2, 4))},
        {"sizes": np.array([2, 3]), "w": np.arange(12, dtype=np.float32).reshape(3, 4)},
    )
    instance = load(path).instance()
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    right = np.array(instance.run({"x": x})["y"])
    for _ in range(2):
        with pytest.raises(InferenceFailed):
            instance.run({"x": np.ones((2, 4), np.float32)})
        np.testing.assert_array_equal(instance.run({"x": x})["y"], right)


# -- products --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "names", "sizes"),
    [
        ("nk,kj->nj", ["x", "w"], "NK"),
        ("nsk,kj->nsj", ["x", "w"], "NSK"),
        ("kj, kn -> nj", ["w", "x"], "KN"),
    ],
)
def test_letters_of_a_product_are_as_long_as_in_its_weights(
    equation: str, names: list[str], sizes: str, tmp_path: Path
) -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = models.write(
        tmp_path / "m.onnx",
        [node("Einsum", names, ["y"], equation=equation)],
        {"x": (DType.FP32, tuple(sizes))},
        {"y": (DType.FP32, tuple("abc"[: len(sizes)]))},
        {"w": weights},
    )
    instance = load(path).instance()

    def given(length: int) -> dict[str, Array]:
        return {"x": np.ones([{"K": length}.get(size, 2) for size in sizes], np.float32)}

    for _ in range(2):
        assert np.unique(instance.run(given(4))["y"]).tolist() == weights.sum(0).tolist()
        for length in (2, 3, 8):
            with pytest.raises(InferenceFailed):
                instance.run(given(length))


# -- names -----------------------------------------------------------------------------------------

# What does nothing to an input, and so is left out.
NOTHING = [
    node("Identity", ["x"], ["/a"]),
    node("Cast", ["x"], ["/a"], to=1),
    node("Concat", ["x"], ["/a"], axis=1),
    node("Dropout", ["x"], ["/a"]),
    node("Sum", ["x"], ["/a"]),
]


@pytest.mark.parametrize("first", NOTHING, ids=lambda one: one.op_type)
def test_an_input_that_nothing_is_done_to_keeps_its_name(
    first: onnx.NodeProto, tmp_path: Path
) -> None:
    ports = (DType.FP32, ("N", 3))
    path = models.write(
        tmp_path / "m.onnx",
        [first, node("Relu", ["/a"], ["b"]), node("Identity", ["b"], ["y"])],
        {"x": ports},
        {"y": ports},
    )
    settings = ModelSettings(backend=OPENVINO, instances=1)
    loaded = openvino_.load(path, settings)
    revived = openvino_.revive(path, settings, np.frombuffer(loaded.export(), np.uint8).copy())
    for model in (loaded, revived):
        assert [spec.name for spec in model.signature.inputs] == ["x"]
        assert [spec.name for spec in model.signature.outputs] == ["y"]
        x = np.array([[1, -2, 3]], np.float32)
        assert model.instance().run({"x": x})["y"].tolist() == [[1, 0, 3]]


def test_what_has_a_value_in_the_file_is_no_input(tmp_path: Path) -> None:
    ports = (DType.FP32, ("N", 3))
    nodes = [node("Dropout", ["x"], ["/a"]), node("Add", ["/a", "w"], ["y"])]
    inputs = {"w": (DType.FP32, (3,)), "x": ports}
    weights = {"w": np.ones(3, np.float32)}
    path = models.write(tmp_path / "m.onnx", nodes, inputs, {"y": ports}, weights)
    signature = load(path).signature
    assert [spec.name for spec in signature.inputs] == ["x"]


# -- lengths ---------------------------------------------------------------------------------------


def _recurrent(path: Path, kind: str, lengths: Array | str | None) -> Path:
    """Three numbers a step, a state of four; lengths that are given, or an input's."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    random = np.random.default_rng(3)
    weights: dict[str, Array] = {
        "w": random.random((1, 4 * gates, 3), np.float32),
        "r": random.random((1, 4 * gates, 4), np.float32),
    }
    inputs: dict[str, tuple[DType, models.Dims]] = {"x": (DType.FP32, ("S", "N", 3))}
    names = ["x", "w", "r"]
    if isinstance(lengths, str):
        inputs[lengths] = (DType.INT32, ("N",))
        names += ["", lengths]
    elif lengths is not None:
        weights["l"] = lengths
        names += ["", "l"]
    nodes = [node(kind, names, ["", "y"], hidden_size=4)]
    return models.write(path, nodes, inputs, {"y": (DType.FP32, (1, "N", 4))}, weights)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("lengths", ["l", np.array([2, 5], np.int32)], ids=["input", "constant"])
def test_sequences_that_end_before_others_are_left_to_onnx_runtime(
    lengths: Array | str, kind: str, tmp_path: Path
) -> None:
    path = _recurrent(tmp_path / "m.onnx", kind, lengths)
    with pytest.raises(ModelLoadError, match=r"lengths of its sequences.* backend onnxruntime"):
        load(path)
    assert backends.load(path, ModelSettings())[0] == "onnxruntime"


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_whole_sequences_are_not(kind: str, tmp_path: Path) -> None:
    path = _recurrent(tmp_path / "m.onnx", kind, None)
    x = np.random.default_rng(4).random((5, 2, 3), np.float32)
    found, right = [
        load(path, backend=backend).instance().run({"x": x})["y"]
        for backend in (OPENVINO, BackendName.ONNXRUNTIME)
    ]
    np.testing.assert_allclose(found, right, rtol=1e-4)
