"""One suite over every backend: what ``engine.backends.contract`` promises."""

from __future__ import annotations

import atexit
import functools
import itertools
import mmap
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import helper

from headrace.engine import backends, choice
from headrace.engine.backends.contract import Instance, Model
from headrace.engine.backends.openvino_ import OpenVinoModel
from headrace.engine.warmup import warm_up
from headrace.errors import BackendMissing, InferenceFailed, InvalidInput, ModelLoadError
from headrace.fingerprint import fingerprint
from headrace.settings import BackendName, ModelSettings, Precision
from headrace.values import Array, DType
from tests.contract import models
from tests.contract.models import node
from tests.contract.test_formats import LINEAR, SCRIPT, TORCH, needs_torch, written

REAL = [BackendName.OPENVINO, BackendName.ONNXRUNTIME]
ALL = [*REAL, BackendName.PYTHON, BackendName.FAKE]


class Format(Enum):
    """A second format of a backend, of that backend's name."""

    TORCHSCRIPT = "torch"


class OnGpu(Enum):
    """A backend on a GPU, by that backend's name."""

    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


Kind = BackendName | Format | OnGpu
WEIGHTS = (np.arange(12, dtype=np.float32).reshape(4, 3) - 5) / 2

# Asked of the driver's file, for a library that looks takes seconds.
has_gpu = Path("/proc/driver/nvidia/version").exists()
needs_gpu = pytest.mark.skipif(not has_gpu, reason="wants an NVIDIA GPU, and there is none")


def needs_gpu_for(provider: str) -> pytest.MarkDecorator:
    """A GPU, and an ONNX Runtime with this provider of it."""
    built = f"{provider}ExecutionProvider" in onnxruntime.get_available_providers()
    reason = f"wants an NVIDIA GPU and an ONNX Runtime with {provider}, and has not both"
    return pytest.mark.skipif(not (has_gpu and built), reason=reason)


X = np.array([[1, 2, 3, 4], [0.5, -1, 0, 2], [-3, 0, 0, 1]], np.float32)


class Linear(NamedTuple):
    """A model of four numbers a row, and what it should answer."""

    path: Path
    expected: Callable[[Array], Array]


def linear(backend: Kind, folder: Path) -> Linear:
    if backend is BackendName.FAKE:
        text = "inputs: {x: [FP32, [null, 4]]}\noutputs: {y: [FP32, [null, 4]]}\nscale: 2\n"
        return Linear(models.double(folder / "model.fake", text), lambda x: x * 2)
    if backend is BackendName.PYTHON:
        body = f'w = np.array({WEIGHTS.tolist()}, np.float32)\nreturn {{"y": batch["x"] @ w}}'
        port = '{"y": ("FP32", [None, 3])}'
        return Linear(models.python(folder / "model.py", body, outputs=port), lambda x: x @ WEIGHTS)
    if backend in {BackendName.TORCH, OnGpu.TORCH}:
        return Linear(program(), lambda x: x @ WEIGHTS)
    if backend is Format.TORCHSCRIPT:
        return Linear(script(), lambda x: x @ WEIGHTS)
    return Linear(models.product(folder / "model.onnx", WEIGHTS), lambda x: x @ WEIGHTS)


@functools.cache
def program() -> Path:
    """A PyTorch program; making one takes seconds."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return written(TORCH, folder) / "model.pt2"


@functools.cache
def script() -> Path:
    """The same as TorchScript."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return written(SCRIPT, folder) / "model.pt"


def settings_of(path: Path, backend: Kind, instances: int = 1, **more: Any) -> ModelSettings:
    keys: dict[str, Any] = {"signature": LINEAR} if path.suffix == ".pt" else {}
    if isinstance(backend, OnGpu):
        keys |= {"device": "cuda", "max_batch": 8}
    settings = {"backend": backend.value, "instances": instances, **keys}
    return ModelSettings.model_validate(settings | more)


def load(path: Path, backend: Kind, instances: int = 1) -> Model:
    name, model = backends.load(path, settings_of(path, backend, instances))
    assert name == backend.value
    return model


@pytest.fixture(
    params=[
        *ALL,
        pytest.param(BackendName.TORCH, marks=needs_torch),
        pytest.param(Format.TORCHSCRIPT, marks=needs_torch),
        pytest.param(OnGpu.TORCH, marks=[needs_gpu, needs_torch], id="torch on a GPU"),
        pytest.param(OnGpu.ONNXRUNTIME, marks=needs_gpu_for("CUDA"), id="onnxruntime on a GPU"),
        pytest.param(OnGpu.TENSORRT, marks=needs_gpu_for("Tensorrt"), id="tensorrt on a GPU"),
    ]
)
def backend(request: pytest.FixtureRequest) -> Kind:
    name: Kind = request.param
    return name


# -- signatures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", REAL)
def test_the_signature_has_the_models_names_in_the_models_order(
    backend: BackendName, tmp_path: Path
) -> None:
    path = models.write(
        tmp_path / "model.onnx",
        [node("Add", ["zebra", "apple"], ["sum"]), node("Cast", ["pear"], ["copy"], to=1)],
        {
            "zebra": (DType.FP32, ("N", 2)),
            "pear": (DType.INT64, ("N", "length")),
            "apple": (DType.FP32, ("N", 2)),
        },
        {"sum": (DType.FP32, ("N", 2)), "copy": (DType.FP32, ("N", "length"))},
    )
    model = load(path, backend)
    signature = model.signature
    assert [spec.name for spec in signature.inputs] == ["zebra", "pear", "apple"]
    assert [spec.dtype for spec in signature.inputs] == [DType.FP32, DType.INT64, DType.FP32]
    assert [spec.name for spec in signature.outputs] == ["sum", "copy"]
    assert [spec.wire_shape for spec in signature.inputs] == [(-1, 2), (-1, -1), (-1, 2)]
    assert signature.batched
    assert model.precision == "f32"
    inputs: dict[str, Array] = {
        "apple": np.full((2, 2), 1, np.float32),
        "pear": np.full((2, 5), 7, np.int64),
        "zebra": np.full((2, 2), 2, np.float32),
    }
    outputs = model.instance().run(inputs)
    assert list(outputs) == ["sum", "copy"]
    assert outputs["sum"].tolist() == [[3, 3], [3, 3]]
    assert outputs["copy"].tolist() == [[7] * 5] * 2


def test_the_doubles_signature_is_what_its_file_says(tmp_path: Path) -> None:
    text = "inputs: {b: [BYTES, [null]], a: [INT8, [null, 2]]}\noutputs: {y: [BYTES, [null]]}\n"
    signature = load(models.double(tmp_path / "m.fake", text), BackendName.FAKE).signature
    assert [(spec.name, spec.dtype) for spec in signature.inputs] == [
        ("b", DType.BYTES),
        ("a", DType.INT8),
    ]
    assert signature.batched


@pytest.mark.parametrize("backend", REAL)
@pytest.mark.parametrize("dims", [(1, 4), ()])
def test_a_model_without_a_free_first_axis_is_not_batched(
    backend: BackendName, dims: tuple[int, ...], tmp_path: Path
) -> None:
    model = load(models.identity(tmp_path / "m.onnx", DType.FP32, dims), backend)
    assert not model.signature.batched
    x = np.full(dims, 1.5, np.float32)
    y = model.instance().run({"x": x})["y"]
    assert y.shape == dims
    assert y.tolist() == x.tolist()


# -- runs ------------------------------------------------------------------------------------------


def test_a_row_gives_the_same_alone_and_among_others(backend: Kind, tmp_path: Path) -> None:
    path, expected = linear(backend, tmp_path)
    instance = load(path, backend).instance()
    together = np.array(instance.run({"x": X})["y"])
    np.testing.assert_allclose(together, expected(X), rtol=1e-6)
    for row in range(len(X)):
        alone = instance.run({"x": X[row : row + 1].copy()})["y"]
        np.testing.assert_allclose(alone, together[row : row + 1], rtol=1e-6)


BOTH = pytest.mark.parametrize("kind", [BackendName.OPENVINO, BackendName.ONNXRUNTIME])
LENGTHS = ((16, 64, 64), (64, 16, 64), (64, 64, 16), (16, 16, 64))


def _words(*lengths: int, rows: int = 1) -> dict[str, Array]:
    named = zip(("ids", "mask", "kinds"), lengths, strict=True)
    return {name: np.ones((rows, length), np.int64) for name, length in named}


@BOTH
@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_inputs_that_do_not_go_together_leave_the_next_ones_alone(
    kind: BackendName, lengths: tuple[int, ...], lanes: int, tmp_path: Path
) -> None:
    model = load(models.attention(tmp_path / "m.onnx"), kind, lanes)
    instance, *_ = [model.instance() for _ in range(lanes)]
    for rows in (1, 2):
        instance.run(_words(64, 64, 64, rows=rows))
    for rows, length in ((2, 64), (1, 64), (1, 16), (2, 64)):
        with pytest.raises(InferenceFailed):
            instance.run(_words(*lengths, rows=rows))
        for _ in range(2 * lanes):
            good = instance.run(_words(*[length] * 3, rows=rows))["y"]
            assert good.shape == (rows, length, 8)


@BOTH
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"batched": True},
        {"batched": True, "buckets": {name: {1: [4, 8]} for name in ("ids", "mask", "kinds")}},
        {"warm_shapes": {name: [[5]] for name in ("ids", "mask", "kinds")}},
    ],
)
def test_a_table_of_one_row_is_looked_up_with_zeros(
    kind: BackendName, said: dict[str, Any], tmp_path: Path
) -> None:
    path = models.attention(tmp_path / "m.onnx", kinds=1)
    model = load(path, kind)
    instances, told = [model.instance()], list[str]()
    settings = settings_of(path, kind, max_batch=4, **said)
    warm = warm_up(model, instances, settings, told.append)
    assert warm.signature.batched
    assert warm.shapes, told
    assert {point.rows for point in warm.measurements} == set(warm.batch_sizes)
    assert instances[0].run(warm.make(warm.shapes[0], 1))


@BOTH
@pytest.mark.parametrize("lengths", LENGTHS)
def test_inputs_that_do_not_go_together_leave_a_table_of_one_row_alone(
    kind: BackendName, lengths: tuple[int, ...], tmp_path: Path
) -> None:
    instance = load(models.attention(tmp_path / "m.onnx", kinds=1), kind).instance()

    def words(*lengths: int, rows: int) -> dict[str, Array]:
        made = _words(*lengths, rows=rows)
        return made | {"kinds": np.zeros_like(made["kinds"])}

    for rows in (1, 2):
        instance.run(words(64, 64, 64, rows=rows))
    for rows, length in ((2, 64), (1, 64), (1, 16), (2, 64)):
        with pytest.raises(InferenceFailed):
            instance.run(words(*lengths, rows=rows))
        for _ in range(2):
            assert instance.run(words(*[length] * 3, rows=rows))["y"].shape == (rows, length, 8)


EIGHT: Array = np.arange(24, dtype=np.float32).reshape(8, 3)
# The shape of an input whose axis K is summed over with eight weights, and what does that.
PRODUCTS: dict[str, tuple[models.Dims, models.Dims, list[Any]]] = {
    "rows": (("N", "K"), ("N", 3), [node("MatMul", ["x", "w"], ["y"])]),
    "rows of rows": (("N", "S", "K"), ("N", "S", 3), [node("MatMul", ["x", "w"], ["y"])]),
    "columns": (("K", "N"), ("N", 3), [node("Gemm", ["x", "w"], ["y"], transA=1)]),
    "weights first": (("K", "N"), (3, "N"), [node("Gemm", ["w", "x"], ["y"], transA=1)]),
    "a vector": (("K",), (3,), [node("MatMul", ["x", "w"], ["y"])]),
    "an image": (
        ("N", 2, "K"),
        ("N", 3),
        [node("Flatten", ["x"], ["flat"]), node("MatMul", ["flat", "w"], ["y"])],
    ),
}


@BOTH
@pytest.mark.parametrize("named", PRODUCTS)
def test_nothing_behind_a_row_is_read_that_is_shorter_than_the_weights(
    kind: BackendName, named: str, tmp_path: Path
) -> None:
    """OpenVINO reads on in f32: what lies there may have been another client's."""
    inner, outer, nodes = PRODUCTS[named]
    path = models.write(
        tmp_path / "m.onnx",
        nodes,
        {"x": (DType.FP32, inner)},
        {"y": (DType.FP32, outer)},
        {"w": EIGHT},
    )
    instance = load(path, kind).instance()
    right = 4 if named == "an image" else 8

    def run(length: int, rows: int) -> Array:
        sizes = {"K": length, "N": rows, "S": 5}
        x = np.ones([sizes[dim] if isinstance(dim, str) else dim for dim in inner], np.float32)
        return np.array(instance.run({"x": x})["y"])

    for rows in (1, 5):  # as a warm-up does
        run(right, rows)
    for length, rows in itertools.product((right // 2, 2 * right, 1), (5, 1)):
        with pytest.raises(InferenceFailed):
            run(length, rows)
        for rows_after in (5, 1, 5):
            found = run(right, rows_after)
            assert np.unique(found).tolist() == EIGHT.sum(0).tolist()


# What takes elements of rows of four, by which places, and how many axes it answers with; ``u``
# are new values.
PLACES: dict[str, tuple[onnx.NodeProto, Array, int]] = {
    "of a table": (node("Gather", ["table", "i"], ["y"], axis=0), np.array([[0, 1]]), 3),
    "of rows": (node("Gather", ["x", "i"], ["y"], axis=1), np.array([0, 1]), 2),
    "one": (node("Gather", ["x", "i"], ["y"], axis=1), np.array(1), 1),
    "rows": (node("Gather", ["x", "i"], ["y"], axis=0), np.array([0, 0]), 2),
    "of each": (node("GatherElements", ["x", "i"], ["y"], axis=1), np.array([[0, 1]]), 2),
    "one of each": (node("GatherND", ["x", "i"], ["y"], batch_dims=1), np.array([[1]]), 1),
    "anywhere": (node("GatherND", ["x", "i"], ["y"]), np.array([[0, 1]]), 1),
    "written": (node("ScatterElements", ["x", "i", "u"], ["y"], axis=1), np.array([[0]]), 2),
    "written anywhere": (node("ScatterND", ["x", "i", "u"], ["y"]), np.array([[[0, 1]]]), 2),
}


@BOTH
@pytest.mark.parametrize("inside", [False, True], ids=["", "in a branch"])
@pytest.mark.parametrize("named", PLACES)
def test_a_place_that_there_is_not_is_refused_and_nothing_is_read_or_written_there(
    kind: BackendName, named: str, inside: bool, tmp_path: Path
) -> None:
    """OpenVINO looks at few of them; what lies there may be another client's."""
    taking, places, rank = PLACES[named]
    nodes, sizes = [taking], tuple("abc"[: places.ndim])
    if inside:
        port = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
        body = helper.make_graph(nodes, "body", [], [port])
        nodes = [node("If", ["c"], ["y"], then_branch=body, else_branch=body)]
    path = models.write(
        tmp_path / "m.onnx",
        nodes,
        {
            "x": (DType.FP32, ("N", 4)),
            "i": (DType.INT64, sizes[:-1] + places.shape[-1:] if places.ndim > 1 else sizes),
            "u": (DType.FP32, (1, 1)),
            "c": (DType.BOOL, ()),
        },
        {"y": (DType.FP32, tuple("def"[:rank]))},
        {"table": EIGHT[:4]},
    )
    instance = load(path, kind).instance()
    x = np.arange(4, dtype=np.float32).reshape(1, 4)

    def run(given: Array) -> Array:
        fed = {"x": x, "i": given, "u": np.full((1, 1), 9, np.float32), "c": np.ones((), bool)}
        return np.array(instance.run(fed)["y"])

    right = run(places)
    for wrong in (5, -6, 300_000, -30_000_000):
        with pytest.raises(InvalidInput, match="outside of the table"):
            run(np.asarray(places + wrong))
        assert np.array_equal(run(places), right)


def test_places_from_the_end_are_of_those_tables_only_that_have_them(tmp_path: Path) -> None:
    """Older files of OpenVINO have a Gather that counts from 0 on and answers zeros for others."""
    ids = openvino.opset7.parameter([-1], openvino.Type.i64, name="i")
    table = openvino.opset7.constant(EIGHT[:4])
    taken = openvino.opset7.gather(table, ids, openvino.opset7.constant(0))
    taken.output(0).set_names({"y"})
    ids.output(0).set_names({"i"})
    openvino.save_model(openvino.Model([taken], [ids]), tmp_path / "m.xml")
    instance = load(tmp_path / "m.xml", BackendName.OPENVINO).instance()
    assert instance.run({"i": np.array([3, 0])})["y"].tolist() == EIGHT[[3, 0]].tolist()
    for wrong in (-1, 4):
        with pytest.raises(InvalidInput, match="outside of the table"):
            instance.run({"i": np.array([0, wrong])})


@BOTH
@pytest.mark.parametrize("lanes", [1, 2])
def test_so_they_do_in_any_order(kind: BackendName, lanes: int, tmp_path: Path) -> None:
    model = load(models.attention(tmp_path / "m.onnx"), kind, lanes)
    instances = [model.instance() for _ in range(lanes)]
    for instance in instances:
        for rows, length in ((1, 16), (2, 64)):
            instance.run(_words(length, length, length, rows=rows))
    random = np.random.default_rng(7)
    for _ in range(300):
        instance = instances[random.integers(lanes)]
        lengths = random.choice([16, 17, 64], 3 if random.random() < 0.3 else 1).tolist()
        rows = int(random.integers(1, 4))
        if len(set(lengths)) > 1:
            with pytest.raises(InferenceFailed):
                instance.run(_words(*lengths, rows=rows))
        else:
            given = _words(*lengths[:1] * 3, rows=rows)
            assert instance.run(given)["y"].shape == (rows, lengths[0], 8)


@BOTH
@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("sizes", [(16, 32, 64), (64,), (1, 16), (1, 2)])
def test_padded_axes_are_tied_and_every_size_runs_afterwards(
    kind: BackendName, sizes: tuple[int, ...], lanes: int, tmp_path: Path
) -> None:
    model = load(models.attention(tmp_path / "m.onnx"), kind, lanes)
    instances = [model.instance() for _ in range(lanes)]
    buckets = {name: {1: sizes} for name in ("ids", "mask", "kinds")}
    settings = ModelSettings(max_batch=2, buckets=buckets)
    signature = warm_up(model, instances, settings, lambda _: None).signature
    assert signature.batched
    names = [spec.shape[1] for spec in signature.inputs]
    assert signature.outputs[0].shape[1] in {name for name in names if name is not None}
    for rows in (1, 2):
        for size in sizes:
            for instance in (*instances, *instances):
                assert instance.run(_words(size, size, size, rows=rows))["y"].shape[1] == size


SPOKEN: dict[BackendName, list[DType]] = {
    BackendName.OPENVINO: [d for d in DType if d not in {DType.FP64, DType.BYTES}],
    BackendName.ONNXRUNTIME: list(DType),
    BackendName.PYTHON: list(DType),
    BackendName.FAKE: list(DType),
}


def extremes(dtype: DType, *, bits: int = 64) -> Array:
    """Two rows of a dtype's most awkward values."""
    if dtype is DType.BYTES:
        rows = np.empty((2, 3), object)
        rows[:] = [[b"", "日本".encode(), b"a\0b"], [b"x" * 3000, b"'", b"b'c'"]]
        return rows
    if dtype is DType.BOOL:
        return np.array([[True, False, True], [False, False, True]])
    if dtype.numpy.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        low, high = max(limits.min, -(2 ** (bits - 1))), min(limits.max, 2 ** (bits - 1) - 1)
        return np.array([[low, high, 1], [high - 1, 0, 3]], dtype.numpy)
    awkward = [[1.5, np.nan, np.inf], [-np.inf, -0.0, 0.1]]
    return np.array(awkward, np.float64).astype(dtype.numpy)


def same(left: Array, right: Array) -> bool:
    """Whether two tensors are equal to the bit."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return (
        left.tolist() == right.tolist()
        if left.dtype == object
        else left.tobytes() == right.tobytes()
    )


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [(backend, dtype) for backend in ALL for dtype in SPOKEN[backend]],
    ids=lambda value: value.value,
)
def test_every_dtype_comes_out_as_it_went_in(
    backend: BackendName, dtype: DType, tmp_path: Path
) -> None:
    if backend is BackendName.FAKE:
        port = f"[{dtype.value}, [null, 3]]"
        path = models.double(tmp_path / "m.fake", f"inputs: {{x: {port}}}\noutputs: {{y: {port}}}")
    elif backend is BackendName.PYTHON:
        ports = [f'{{"{name}": ("{dtype.value}", [None, 3])}}' for name in "xy"]
        path = models.python(tmp_path / "m.py", 'return {"y": batch["x"]}', *ports)
    else:
        path = models.identity(tmp_path / "m.onnx", dtype)
    model = load(path, backend)
    assert model.signature.inputs[0].dtype is model.signature.outputs[0].dtype is dtype
    # OpenVINO's CPU plugin computes INT64 in 32 bits.
    x = extremes(dtype, bits=32 if backend is BackendName.OPENVINO else 64)
    before = x.copy()
    y = model.instance().run({"x": x})["y"]
    assert same(y, before)
    assert same(x, before)


@pytest.mark.parametrize("backend", REAL)
@pytest.mark.parametrize(
    "dtype",
    [
        DType.UINT8,
        DType.UINT16,
        DType.UINT32,
        DType.INT8,
        DType.INT16,
        DType.INT32,
        DType.INT64,
        DType.FP16,
        DType.FP32,
    ],
    ids=lambda dtype: dtype.value,
)
def test_numbers_are_added_in_their_own_dtype(
    backend: BackendName, dtype: DType, tmp_path: Path
) -> None:
    ports = {"x": (dtype, ("N", 3))}
    nodes = [node("Add", ["x", "x"], ["y"])]
    path = models.write(tmp_path / "m.onnx", nodes, ports, {"y": (dtype, ("N", 3))})
    x = np.array([[1, 50, 3], [0, 63, 2]], dtype.numpy)
    y = load(path, backend).instance().run({"x": x})["y"]
    assert same(np.array(y), x + x)


@pytest.mark.parametrize("backend", ALL)
def test_free_axes_take_any_size_also_none(backend: BackendName, tmp_path: Path) -> None:
    if backend is BackendName.FAKE:
        port = "[FP32, [null, null]]"
        path = models.double(tmp_path / "m.fake", f"inputs: {{x: {port}}}\noutputs: {{y: {port}}}")
    elif backend is BackendName.PYTHON:
        ports = [f'{{"{name}": (np.float32, [None, None])}}' for name in "xy"]
        path = models.python(tmp_path / "m.py", 'return {"y": batch["x"] * 1}', *ports)
    else:
        dims = ("N", "length")
        nodes = [node("Add", ["x", "x"], ["d"]), node("Sub", ["d", "x"], ["y"])]
        x_port = {"x": (DType.FP32, dims)}
        path = models.write(tmp_path / "m.onnx", nodes, x_port, {"y": (DType.FP32, dims)})
    instance = load(path, backend).instance()
    for shape in [(1, 1), (3, 7), (2, 128), (1, 0), (2, 7)]:
        x = np.random.default_rng(0).random(shape, np.float32)
        y = instance.run({"x": x})["y"]
        assert y.shape == shape
        np.testing.assert_allclose(y, x, rtol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        *REAL,
        pytest.param(OnGpu.ONNXRUNTIME, marks=needs_gpu_for("CUDA"), id="onnxruntime on a GPU"),
        pytest.param(OnGpu.TENSORRT, marks=needs_gpu_for("Tensorrt"), id="tensorrt on a GPU"),
    ],
)
def test_sizes_that_are_an_input_are_those_of_the_run(kind: Kind, tmp_path: Path) -> None:
    # On a GPU they are used on the processor; and outputs have other shapes at every run.
    path = models.write(
        tmp_path / "m.onnx",
        [node("Expand", ["x", "sizes"], ["y"])],
        {"x": (DType.FP32, (1, 1)), "sizes": (DType.INT64, (2,))},
        {"y": (DType.FP32, ("rows", "columns"))},
    )
    instance = load(path, kind).instance()
    for value, sizes in enumerate([(2, 3), (4, 1), (1, 5), (2, 3)]):
        x = np.full((1, 1), value, np.float32)
        y = instance.run({"x": x, "sizes": np.array(sizes)})["y"]
        assert (y.shape, set(y.flat)) == (sizes, {value})


# -- bytes -----------------------------------------------------------------------------------------


def test_bytes_give_the_numbers_that_were_computed_of_them_before(
    backend: Kind, tmp_path: Path
) -> None:
    path, _ = linear(backend, tmp_path)
    said = {"x": {"scale": 1 / 255, "mean": [0.1, 0.2, 0.3, 0.4], "std": [0.5]}}
    plain, settings = load(path, backend), settings_of(path, backend, normalise=said)
    sent = np.random.default_rng(3).integers(0, 256, (3, 4), np.uint8)
    factor = np.full(4, 1 / 255 / 0.5).astype(np.float32)
    offset = (-np.array([0.1, 0.2, 0.3, 0.4]) / 0.5).astype(np.float32)
    before = sent.astype(np.float32) * factor + offset
    model = choice.choose(path, settings, lambda _: None).model
    assert model.signature.inputs[0].dtype is DType.UINT8
    assert model.signature.inputs[0].shape == plain.signature.inputs[0].shape
    expected = np.array(plain.instance().run({"x": before})["y"])
    np.testing.assert_array_equal(model.instance().run({"x": sent})["y"], expected)


@pytest.mark.parametrize("kind", REAL)
def test_bytes_for_channels_of_any_number_are_taken_for_as_many_as_have_values(
    kind: BackendName, tmp_path: Path
) -> None:
    images = (DType.FP32, ("N", "C", "H", "W"))
    path = models.write(
        tmp_path / "m.onnx",
        [node("Conv", ["x", "w"], ["y"])],
        {"x": images},
        {"y": (DType.FP32, ("N", 2, "H", "W"))},
        {"w": np.ones((2, 3, 1, 1), np.float32)},
    )
    said = {"x": {"mean": [1, 2, 3], "std": [1, 2, 4]}}
    chosen = choice.choose(path, settings_of(path, kind, normalise=said), lambda _: None)
    instance = chosen.model.instance()
    warm = warm_up(chosen.model, [instance], ModelSettings(max_batch=2), lambda _: None)
    assert [spec.shape[1] for spec in warm.signature.inputs] == [3]
    sent = np.full((1, 3, 4, 4), 5, np.uint8)
    np.testing.assert_allclose(instance.run({"x": sent})["y"], 4 / 1 + 3 / 2 + 2 / 4)


# -- memory and threads ----------------------------------------------------------------------------


def test_inputs_may_be_read_only_views_of_shared_memory(backend: Kind, tmp_path: Path) -> None:
    path, expected = linear(backend, tmp_path)
    instance = load(path, backend).instance()
    with mmap.mmap(-1, 4096) as memory:
        memory[64 : 64 + X.nbytes] = X.tobytes()
        x = np.frombuffer(memory, np.float32, X.size, 64).reshape(X.shape)
        x.flags.writeable = False
        y = instance.run({"x": x})["y"]
        np.testing.assert_allclose(y, expected(X), rtol=1e-6)
        assert memory[64 : 64 + X.nbytes] == X.tobytes()
        # The instance may hold its last input: give it another, so that the memory can go.
        instance.run({"x": X})
        del x, y


def test_outputs_stay_until_the_next_run_of_their_own_instance(
    backend: Kind, tmp_path: Path
) -> None:
    path, expected = linear(backend, tmp_path)
    model = load(path, backend, instances=2)
    first, second = model.instance(), model.instance()
    kept = first.run({"x": X})["y"]
    for scale in (2, 3, 4):
        second.run({"x": X * scale})
    np.testing.assert_allclose(kept, expected(X), rtol=1e-6)


def test_two_instances_run_in_two_threads_at_once(backend: Kind, tmp_path: Path) -> None:
    path, expected = linear(backend, tmp_path)
    model = load(path, backend, instances=2)
    start = threading.Barrier(2)
    wrong: list[str] = []

    def work(instance: Instance, seed: int) -> None:
        random = np.random.default_rng(seed)
        start.wait(10)
        for _ in range(100):
            x = random.random((int(random.integers(1, 5)), 4), np.float32)
            y = instance.run({"x": x})["y"]
            if not np.allclose(y, expected(x), rtol=1e-5, atol=1e-6):
                wrong.append(f"{seed}: {x} → {y}")

    threads = [threading.Thread(target=work, args=(model.instance(), seed)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


# -- failures --------------------------------------------------------------------------------------


def failing(backend: Kind, folder: Path) -> tuple[Path, Array]:
    """A model of rows of four, and an input it cannot run."""
    if backend in {BackendName.TORCH, OnGpu.TORCH}:
        return program(), np.zeros((1, 3), np.float32)
    if backend is Format.TORCHSCRIPT:
        return script(), np.zeros((1, 3), np.float32)
    if backend is OnGpu.TENSORRT:  # which wants to know the size of every axis
        return models.product(folder / "m.onnx", WEIGHTS), np.zeros((1, 3), np.float32)
    if backend is BackendName.FAKE:
        path = models.double(folder / "m.fake", "fail_at: 13\n")
        return path, np.full((1, 4), 13, np.float32)
    if backend is BackendName.PYTHON:
        body = 'return {"y": batch["x"] + np.array([1, 2, 3, 4], np.float32)}'
        return models.python(folder / "m.py", body), np.zeros((1, 3), np.float32)
    path = models.write(
        folder / "m.onnx",
        [node("Add", ["x", "steps"], ["y"])],
        {"x": (DType.FP32, ("N", "length"))},
        {"y": (DType.FP32, ("N", "width"))},
        {"steps": np.array([1, 2, 3, 4], np.float32)},
    )
    return path, np.zeros((1, 3), np.float32)


@pytest.mark.parametrize("instances", [1, 2])
def test_a_batch_that_fails_leaves_the_instance_alive(
    backend: Kind, instances: int, tmp_path: Path
) -> None:
    path, bad = failing(backend, tmp_path)
    instance = load(path, backend, instances).instance()
    answer = np.array(instance.run({"x": X})["y"])
    for _ in range(2):
        with pytest.raises(InferenceFailed) as caught:
            instance.run({"x": bad})
        assert caught.value.message
        np.testing.assert_array_equal(instance.run({"x": X})["y"], answer)


def test_strings_that_are_no_text_fail_with_their_reason(tmp_path: Path) -> None:
    path = models.identity(tmp_path / "m.onnx", DType.BYTES)
    instance = load(path, BackendName.ONNXRUNTIME).instance()
    x = np.full((1, 3), b"\xff\xfe", object)
    with pytest.raises(InferenceFailed, match="utf-8"):
        instance.run({"x": x})


SUFFIX: dict[Kind, str] = {
    BackendName.OPENVINO: ".onnx",
    BackendName.ONNXRUNTIME: ".onnx",
    BackendName.PYTHON: ".py",
    BackendName.TORCH: ".pt2",
    Format.TORCHSCRIPT: ".pt",
    OnGpu.TORCH: ".pt2",
    OnGpu.ONNXRUNTIME: ".onnx",
    OnGpu.TENSORRT: ".onnx",
    BackendName.FAKE: ".fake",
}


def truncated(path: Path) -> None:
    whole = models.product(path.with_suffix(".whole"), np.ones((64, 64)), ("N", 64)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path,
    "empty": lambda path: path.write_bytes(b"\xff" if path.suffix == ".fake" else b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 16),
    "truncated": truncated,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_cannot_be_read_is_named(backend: Kind, how: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{SUFFIX[backend]}"
    BROKEN[how](path)
    with pytest.raises(ModelLoadError) as caught:
        load(path, backend)
    assert str(path) in caught.value.message
    assert backend.value in caught.value.message


@pytest.mark.parametrize("content", [b"", b"\x0b", b"\x12\x02\x2a\x05", b"\x12\x01\x0b"])
def test_so_is_the_file_of_a_saved_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "saved_model.pb"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match="must be the whole file of a SavedModel"):
        load(path, BackendName.OPENVINO)


@pytest.mark.parametrize("backend", REAL)
def test_an_operator_the_library_has_not_is_a_load_error(
    backend: BackendName, tmp_path: Path
) -> None:
    ports = {"x": (DType.FP32, ("N", 4))}
    nodes = [node("Frobnicate", ["x"], ["y"])]
    path = models.write(tmp_path / "m.onnx", nodes, ports, {"y": (DType.FP32, ("N", 4))})
    with pytest.raises(ModelLoadError, match="Frobnicate") as caught:
        load(path, backend)
    assert str(path) in caught.value.message


def without_rank(path: Path, ports: str) -> Path:
    """The same model, but of these inputs and outputs nobody knows how many axes they have."""
    model = onnx.load(path)
    for port in (*model.graph.input, *model.graph.output):
        if port.name in ports:
            port.type.tensor_type.ClearField("shape")
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        (BackendName.OPENVINO, DType.FP32),
        (BackendName.ONNXRUNTIME, DType.FP32),
        (BackendName.ONNXRUNTIME, DType.BYTES),
    ],
)
def test_an_input_of_any_rank_is_refused(
    backend: BackendName, dtype: DType, tmp_path: Path
) -> None:
    path = without_rank(models.identity(tmp_path / "m.onnx", dtype), "xy")
    with pytest.raises(ModelLoadError, match="'x' has no known rank: export it with one"):
        load(path, backend)


def test_an_output_of_any_rank_is_answered_as_it_comes(tmp_path: Path) -> None:
    path = without_rank(models.product(tmp_path / "m.onnx", WEIGHTS), "y")
    _, model = backends.load(path, ModelSettings())
    np.testing.assert_allclose(model.instance().run({"x": X})["y"], X @ WEIGHTS)


@pytest.mark.parametrize("dtype", [DType.FP64, DType.BYTES], ids=lambda dtype: dtype.value)
def test_openvino_refuses_what_it_would_round_and_auto_finds_another(
    dtype: DType, tmp_path: Path
) -> None:
    path = models.identity(tmp_path / "m.onnx", dtype)
    with pytest.raises(ModelLoadError, match="use backend onnxruntime") as caught:
        load(path, BackendName.OPENVINO)
    assert str(path) in caught.value.message
    name, model = backends.load(path, ModelSettings())
    assert name == "onnxruntime"
    x = extremes(dtype)
    assert same(model.instance().run({"x": x})["y"], x)


def test_a_file_that_only_openvino_reads_is_not_sent_to_another_library(tmp_path: Path) -> None:
    read = openvino.Core().read_model(models.identity(tmp_path / "m.onnx", DType.FP64))
    openvino.save_model(read, tmp_path / "m.xml")
    with pytest.raises(
        ModelLoadError, match=r"f64, .*: save it as ONNX and use backend onnxruntime"
    ):
        load(tmp_path / "m.xml", BackendName.OPENVINO)


def ranker(path: Path, first_id: int) -> Path:
    """Answers with the id of the best of three."""
    return models.write(
        path,
        [
            node("MatMul", ["x", "w"], ["s"]),
            node("ArgMax", ["s"], ["best"], axis=1, keepdims=0),
            node("Gather", ["ids", "best"], ["id"]),
        ],
        {"x": (DType.FP32, ("N", 4))},
        {"id": (DType.INT64, ("N",))},
        {"w": WEIGHTS.astype(np.float32), "ids": np.arange(first_id, first_id + 3)},
    )


def test_a_number_that_openvino_would_change_is_refused_and_auto_finds_another(
    tmp_path: Path,
) -> None:
    path = ranker(tmp_path / "m.onnx", 5_000_000_000)
    with pytest.raises(ModelLoadError, match=r"'ids' .* 5000000000, .* use backend onnxruntime"):
        load(path, BackendName.OPENVINO)
    name, model = backends.load(path, ModelSettings())
    assert name == "onnxruntime"
    assert model.instance().run({"x": X})["id"].tolist() == [
        5_000_000_002,
        5_000_000_002,
        5_000_000_000,
    ]


@pytest.mark.parametrize("dtype", [DType.UINT32, DType.UINT64, DType.INT64])
def test_in_a_branch_and_of_other_dtypes_too(dtype: DType, tmp_path: Path) -> None:
    def added(name: str) -> onnx.GraphProto:
        ports = [helper.make_tensor_value_info(name, models.ONNX_TYPES[dtype], ["N"])]
        return helper.make_graph([node("Add", ["x", "k"], [name])], name, [], ports)

    path = models.write(
        tmp_path / "m.onnx",
        [node("If", ["c"], ["y"], then_branch=added("a"), else_branch=added("b"))],
        {"x": (dtype, ("N",)), "c": (DType.BOOL, ())},
        {"y": (dtype, ("N",))},
        {"k": np.array([2**31], dtype.numpy)},
    )
    with pytest.raises(ModelLoadError, match="number 2147483648"):
        load(path, BackendName.OPENVINO)


@pytest.mark.parametrize("end", [2**31 - 1, 2**40, 2**63 - 1, -(2**63), -(2**63) + 1])
def test_the_end_of_a_slice_may_be_any_number(end: int, tmp_path: Path) -> None:
    step = -1 if end < 0 else 1
    constants = {"start": [-step], "end": [end], "axis": [1], "step": [step]}
    ports = (DType.FP32, ("N", 4))
    path = models.write(
        tmp_path / "m.onnx",
        [node("Slice", ["x", *constants], ["y"])],
        {"x": ports},
        {"y": (DType.FP32, ("N", "some"))},
        {name: np.array(value) for name, value in constants.items()},
    )
    y = load(path, BackendName.OPENVINO).instance().run({"x": X})["y"]
    assert y.tolist() == X[:, -step::step].tolist()


def test_strings_beside_bfloat16_are_refused(tmp_path: Path) -> None:
    nodes = [node("Identity", ["x"], ["y"]), node("Identity", ["s"], ["t"])]
    path = models.write(
        tmp_path / "m.onnx",
        nodes,
        {"x": (DType.BF16, ("N",)), "s": (DType.BYTES, ("N",))},
        {"y": (DType.BF16, ("N",)), "t": (DType.BYTES, ("N",))},
    )
    with pytest.raises(ModelLoadError, match="bfloat16"):
        load(path, BackendName.ONNXRUNTIME)


@pytest.mark.parametrize("library", ["openvino", "onnxruntime"])
def test_a_library_that_is_not_installed_is_named_with_how_to_get_it(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python itself does for a package that is not there; undone after the test.
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"headrace.engine.backends.{library}_", raising=False)
    path = models.identity(tmp_path / "m.onnx", DType.FP32)
    with pytest.raises(BackendMissing, match=rf"pip install '{library}'"):
        load(path, BackendName(library))
    other = "onnxruntime" if library == "openvino" else "openvino"
    assert backends.load(path, ModelSettings())[0] == other


# -- precision -------------------------------------------------------------------------------------


def error_of(precision: Precision, folder: Path) -> tuple[float, str]:
    """The largest relative error of a matrix product in that precision, and its name."""
    random = np.random.default_rng(7)
    weights = random.standard_normal((256, 64)).astype(np.float32)
    path = models.product(folder / "m.onnx", weights, ("N", 256))
    settings = ModelSettings(backend=BackendName.OPENVINO, precision=precision)
    model = backends.load(path, settings)[1]
    x = random.standard_normal((8, 256)).astype(np.float32)
    exact = x.astype(np.float64) @ weights.astype(np.float64)
    y = model.instance().run({"x": x})["y"]
    return float(np.abs(y - exact).max() / np.abs(exact).max()), model.precision


def test_f32_is_f32_unless_asked_otherwise(tmp_path: Path) -> None:
    assert ModelSettings().precision is Precision.F32
    assert error_of(Precision.F32, tmp_path)[0] < 1e-6
    weights = np.random.default_rng(7).standard_normal((256, 64)).astype(np.float32)
    path = models.product(tmp_path / "o.onnx", weights, ("N", 256))
    x = np.random.default_rng(8).standard_normal((8, 256)).astype(np.float32)
    y = load(path, BackendName.ONNXRUNTIME).instance().run({"x": x})["y"]
    np.testing.assert_allclose(y, x.astype(np.float64) @ weights, rtol=1e-3, atol=1e-4)


def test_bf16_is_what_is_used_where_asked_or_refused(tmp_path: Path) -> None:
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" in able:
        error, name = error_of(Precision.BF16, tmp_path)
        assert name == "bf16"
        assert 1e-4 < error < 3e-2
    else:
        with pytest.raises(ModelLoadError, match="bf16 is not to be had"):
            error_of(Precision.BF16, tmp_path)


def write_sensitive(path: Path, before: int = 0, after: int = 1) -> Path:
    """One layer rounds what is made large later on, small changes of large numbers; and others."""
    kinds = ["same"] * before + ["first", "second"] + ["last"] * after
    nodes, at = [], "x"
    for number, kind in enumerate(kinds):
        made = "scores" if number == len(kinds) - 1 else f"made{number}"
        nodes.append(node("MatMul", [at, "same" if kind == "first" else kind], [made]))
        at = made
        if kind == "first":
            nodes.append(node("Sub", [made, "mean"], ["small"]))
            at = "small"
    random = np.random.default_rng(7)
    known = {
        "same": np.eye(64, dtype=np.float32),
        "mean": np.array(1.0, np.float32),
        "second": random.standard_normal((64, 8)).astype(np.float32),
        "last": np.eye(8, dtype=np.float32),
    }
    if not after:
        del known["last"]
    outputs = {"scores": (DType.FP32, ("N", 8))}
    return models.write(path, nodes, {"x": (DType.FP32, ("N", 64))}, outputs, known)


def test_of_bf16_the_first_layers_may_compute_in_f32(tmp_path: Path) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16")
    path = write_sensitive(tmp_path / "m.onnx")
    x = (1 + 0.001 * np.random.default_rng(8).standard_normal((16, 64))).astype(np.float32)
    plain = ModelSettings(backend=BackendName.OPENVINO, precision=Precision.BF16)
    mixed = plain.model_copy(update={"f32_layers": 1})
    exact = load(path, BackendName.ONNXRUNTIME).instance().run({"x": x})["scores"]

    def error(settings: ModelSettings) -> float:
        model = backends.load(path, settings)[1]
        assert model.precision == "bf16"
        off = model.instance().run({"x": x})["scores"] - exact
        return float(np.abs(off).max() / np.abs(exact).max())

    assert error(plain) > 0.1
    assert 1e-4 < error(mixed) < 0.02  # the second layer is in bf16 still
    model = backends.load(path, mixed)[1]
    assert isinstance(model, OpenVinoModel)
    again = backends.revive(path, mixed, np.frombuffer(model.export(), np.uint8))
    off = again.instance().run({"x": x})["scores"] - exact
    assert np.abs(off).max() / np.abs(exact).max() < 0.02


def test_layers_in_f32_that_are_not_to_be_had_are_refused_with_the_fix(tmp_path: Path) -> None:
    path = write_sensitive(tmp_path / "m.onnx")
    asked = ModelSettings(backend=BackendName.OPENVINO, precision=Precision.BF16, f32_layers=3)
    for backend in (BackendName.OPENVINO, BackendName.AUTO):
        with pytest.raises(ModelLoadError, match="it has 3 layers, and f32_layers 3 leaves none"):
            backends.load(path, asked.model_copy(update={"backend": backend}))
    other = asked.model_copy(update={"backend": BackendName.ONNXRUNTIME})
    with pytest.raises(ModelLoadError, match=r"onnxruntime: .*f32_layers is for backend openvino"):
        backends.load(path, other)
    # With another precision it says nothing.
    plain = asked.model_copy(update={"precision": Precision.F32})
    assert backends.load(path, plain)[1].precision == "f32"


def test_int8_is_for_weights_of_8_bits_and_rounds_what_is_multiplied_with_them(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(7)
    weights = random.integers(-127, 128, (256, 64), np.int8)
    path = models.write(
        tmp_path / "m.onnx",
        [node("DequantizeLinear", ["w", "s"], ["v"]), node("MatMul", ["x", "v"], ["y"])],
        {"x": (DType.FP32, ("N", 256))},
        {"y": (DType.FP32, ("N", 64))},
        {"w": weights, "s": np.array(0.01, np.float32)},
    )
    x = random.standard_normal((8, 256)).astype(np.float32)
    exact = x.astype(np.float64) @ (0.01 * weights)
    errors = {}
    for precision in (Precision.F32, Precision.INT8):
        settings = ModelSettings(backend=BackendName.OPENVINO, precision=precision)
        model = backends.load(path, settings)[1]
        assert model.precision == precision.value
        y = model.instance().run({"x": x})["y"]
        errors[precision] = float(np.abs(y - exact).max() / np.abs(exact).max())
    assert errors[Precision.F32] < 1e-5
    assert errors[Precision.INT8] < 3e-2
    if "avx512_vnni" in fingerprint().features:  # else OpenVINO may find it slower, and not do it
        assert errors[Precision.INT8] > 1e-4
    plain = models.product(tmp_path / "plain.onnx", weights, ("N", 256))
    with pytest.raises(ModelLoadError, match="weights of 8 bits, and this has none"):
        backends.load(plain, ModelSettings(backend=BackendName.OPENVINO, precision=Precision.INT8))


def test_a_precision_that_is_not_to_be_had_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = models.identity(tmp_path / "m.onnx", DType.FP32)
    for precision in (Precision.BF16, Precision.F16, Precision.INT8):
        settings = ModelSettings(backend=BackendName.ONNXRUNTIME, precision=precision)
        with pytest.raises(ModelLoadError, match="use backend openvino or precision f32") as caught:
            backends.load(path, settings)
        assert str(path) in caught.value.message
    if "FP16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        settings = ModelSettings(backend=BackendName.OPENVINO, precision=Precision.F16)
        with pytest.raises(ModelLoadError, match="f16 is not to be had on this processor"):
            backends.load(path, settings)
