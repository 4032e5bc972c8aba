"""ONNX Runtime on a GPU as far as that can be seen without one: options and bindings."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import structlog
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from headrace.engine import backends
from headrace.engine.backends import gpu_fault
from headrace.engine.backends.onnxruntime_ import OrtModel
from headrace.engine.backends.onnxruntime_cuda import (
    CPU,
    CUDA,
    TENSORRT,
    BoundInstance,
    Shared,
    end_if_lost,
    inputs_on_cpu,
    load_libraries,
    providers,
    refusal,
)
from headrace.engine.normalised import adapt
from headrace.engine.stages import lanes_of
from headrace.errors import DeviceMissing, InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import Array, DType, Signature, TensorSpec
from tests.contract import models

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
WORDS = Signature(
    (TensorSpec("ids", DType.INT64, (None, None)), TensorSpec("mask", DType.INT64, (None, 128))),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    batched=True,
)


def test_what_is_printed_of_errors_is_in_the_log_on_a_gpu_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ports = dict.fromkeys(("a", "b"), (DType.FP32, ("N", "L")))
    nodes = [models.node("Add", ["a", "b"], ["y"])]
    path = tmp_path / "add.onnx"
    models.write(path, nodes, ports, {"y": (DType.FP32, ("N", "L"))})
    inputs = {"a": np.zeros((1, 2), np.float32), "b": np.zeros((1, 3), np.float32)}

    def printed() -> bool:
        """Whether a run that fails is printed, in a session that is told nothing of the log."""
        session = onnxruntime.InferenceSession(str(path), providers=[CPU])
        with pytest.raises(Exception, match="Attempting to broadcast"):
            session.run(None, inputs)
        return "[E:onnxruntime" in capfd.readouterr().err

    if CUDA not in onnxruntime.get_available_providers():
        with pytest.raises(DeviceMissing):
            backends.load(path, _settings(backend="onnxruntime"))
        assert printed()
    model = backends.load(path, ModelSettings.model_validate({"backend": "onnxruntime"}))[1]
    assert not printed()
    with pytest.raises(InferenceFailed):
        model.instance().run(inputs)
    assert capfd.readouterr().err == ""


def _settings(**keys: Any) -> ModelSettings:
    return ModelSettings.model_validate({"device": "cuda:1", "max_batch": 16} | keys)


def test_cudnn_chooses_by_its_heuristic_and_f32_is_no_tf32() -> None:
    first, last = providers(_settings(), WORDS, None)
    assert last == CPU
    assert not isinstance(first, str)
    name, options = first
    assert name == CUDA
    assert options["device_id"] == "1"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["use_tf32"] == "0"


def _tensorrt(settings: ModelSettings, folder: Path | None) -> dict[str, str]:
    """What TensorRT is told, which comes before CUDA and that before the processor."""
    found = providers(settings, WORDS, folder)
    assert [one if isinstance(one, str) else one[0] for one in found] == [TENSORRT, CUDA, CPU]
    assert not isinstance(found[0], str)
    return found[0][1]


def test_tensorrt_comes_first_with_one_engine_for_all_sizes_kept_in_its_folder() -> None:
    settings = _settings(backend="tensorrt", precision="f16", buckets={"ids": {1: [32, 128, 64]}})
    options = _tensorrt(settings, Path("/engines"))
    assert options["trt_fp16_enable"] == "True"
    assert "trt_bf16_enable" not in options  # older ones do not know it
    assert options["trt_profile_min_shapes"] == "ids:1x32,mask:1x128"
    assert options["trt_profile_opt_shapes"] == "ids:16x128,mask:16x128"
    assert options["trt_profile_max_shapes"] == "ids:16x128,mask:16x128"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/engines"


def test_tensorrt_is_asked_for_bf16_where_the_card_does() -> None:
    settings = _settings(backend="tensorrt", precision="bf16", buckets={"ids": {1: [32]}})
    options = _tensorrt(settings, None)
    assert (options["trt_fp16_enable"], options["trt_bf16_enable"]) == ("False", "True")


def test_tensorrt_takes_sizes_from_warm_shapes_and_keeps_nothing_without_a_folder() -> None:
    settings = _settings(backend="tensorrt", warm_shapes={"ids": [[8], [24]]})
    options = _tensorrt(settings, None)
    assert options["trt_profile_min_shapes"].startswith("ids:1x8,")
    assert options["trt_profile_max_shapes"].startswith("ids:16x24,")
    assert "trt_engine_cache_path" not in options


def test_an_axis_of_unknown_sizes_is_told_before_tensorrt_builds_for_each() -> None:
    with pytest.raises(ModelLoadError, match=r"axis 1 of input 'ids' .* name its sizes under"):
        providers(_settings(backend="tensorrt"), WORDS, None)


def _shapes(inputs: dict[str, tuple[int | None, ...]], **keys: Any) -> tuple[str, str]:
    """The smallest and the largest that TensorRT is told."""
    specs = tuple(TensorSpec(name, DType.FP32, shape) for name, shape in inputs.items())
    free = all(shape[0] is None for shape in inputs.values())
    signature = Signature(specs, (TensorSpec("y", DType.FP32, (None, 2)),), batched=free)
    first = providers(_settings(backend="tensorrt", **keys), signature, None)[0]
    assert not isinstance(first, str)
    said = [first[1].get(f"trt_profile_{which}_shapes", "") for which in ("min", "opt", "max")]
    assert said[1] == said[2]
    return said[0], said[2]


LAST: dict[str, Any] = {"channels_last": True, "mean": [1, 2, 3], "std": [1, 1, 1]}
FIRST: dict[str, Any] = {"mean": [1, 2, 3]}


@pytest.mark.parametrize(
    ("shape", "said", "keys", "expected"),
    [
        (
            (None, 3, None, None),
            LAST,
            {"warm_shapes": {"x": [[224, 192, 3], [448, 320, 3]]}},
            ("x:1x3x224x192", "x:16x3x448x320"),
        ),
        (
            (None, 3, None, None),
            LAST,
            {"buckets": {"x": {1: [224, 256], 2: [128, 512]}}},
            ("x:1x3x224x128", "x:16x3x256x512"),
        ),
        # Of so many channels as there are values.
        (
            (None, None, None, 8),
            LAST,
            {"warm_shapes": {"x": [[6, 8, 3]]}},
            ("x:1x3x6x8", "x:16x3x6x8"),
        ),
        (
            (None, None, None, 8),
            FIRST,
            {"warm_shapes": {"x": [[3, 6, 8]]}},
            ("x:1x3x6x8", "x:16x3x6x8"),
        ),
        (
            (None, None, 3),
            {"axis": 2, **LAST},
            {"warm_shapes": {"x": [[5, 3]]}},
            ("x:1x5x3", "x:16x5x3"),
        ),
        # Without a batch axis.
        (
            (3, None, None),
            {**LAST, "axis": 0},
            {"warm_shapes": {"x": [[4, 5, 3], [8, 9, 3]]}},
            ("x:3x4x5", "x:3x8x9"),
        ),
    ],
)
def test_tensorrt_is_told_the_models_axes_where_cards_have_those_of_clients(
    shape: tuple[int | None, ...],
    said: dict[str, Any],
    keys: dict[str, Any],
    expected: tuple[str, str],
) -> None:
    assert _shapes({"x": shape}, normalise={"x": said}, **keys) == expected


def test_without_a_batch_axis_the_first_is_of_the_sizes_that_the_card_names() -> None:
    sizes = {"x": [[100, 80], [400, 80]]}
    expected = ("x:100x80", "x:400x80")
    assert _shapes({"x": (None, 80)}, batched=False, warm_shapes=sizes) == expected
    fixed: dict[str, tuple[int | None, ...]] = {"x": (None, 80), "of_all": (1,)}
    assert _shapes(fixed, warm_shapes=sizes) == tuple(f"{one},of_all:1" for one in expected)
    assert _shapes({"x": (None, 80)}, batched=False, max_batch=4) == ("x:1x80", "x:4x80")
    rows = {"x": [[100], [400]]}  # of a request that says nothing of batches, one row is warmed up
    expected = ("x:1x100,of_all:1", "x:4x400,of_all:1")
    assert _shapes({"x": (None, None), "of_all": (1,)}, max_batch=4, warm_shapes=rows) == expected


@pytest.mark.parametrize("name", ["input_ids:0", "a,b"])
def test_nothing_is_told_of_names_that_cannot_be_told(name: str) -> None:
    with structlog.testing.capture_logs() as logs:
        assert _shapes({"x": (None, 4), name: (None, None)}) == ("", "")
    assert [(one["event"], one["inputs"]) for one in logs] == [("no_profiles", [name])]
    assert _shapes({"x": (2, 4), name: (3,)}) == ("", "")  # nothing has to be told


class Copied:
    """A binding that copies an input when it is bound, and never again: as if it were on a GPU and
    the model used it on the processor, or the other way."""

    def __init__(self, binding: Any) -> None:
        self.binding = binding

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.bind_cpu_input(name, value.numpy())

    def bind_cpu_input(self, name: str, array: Array) -> None:
        self.binding.bind_cpu_input(name, array.copy())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.binding, name)


class Elsewhere:
    """A session whose inputs are all bound elsewhere than where they are used."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def io_binding(self) -> Copied:
        return Copied(self._session.io_binding())

    def run_with_iobinding(self, copied: Copied) -> None:
        self._session.run_with_iobinding(copied.binding)


def _session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=[CPU])


def _lanes(session: Any, count: int = 1, wrap: Any = None, **keys: Any) -> list[BoundInstance]:
    """Lanes that keep all inputs in buffers, unless ``on_cpu`` names some."""
    shared = Shared(
        session=session if wrap is None else wrap(session),
        signature=OrtModel(session, ModelSettings()).signature,
        device=("cpu", 0),
        computing=threading.Lock(),
        **{"on_cpu": frozenset(), "check": lambda: None, **keys},
    )
    lanes = [BoundInstance(shared)]
    while len(lanes) < count:
        lanes.append(lanes[0].beside())
    return lanes


def test_a_lane_answers_at_every_size_and_has_outputs_of_its_own(tmp_path: Path) -> None:
    first, second = _lanes(_session(models.product(tmp_path / "m.onnx", WEIGHTS)), 2)
    random = np.random.default_rng(0)
    for rows in (1, 3, 1, 2):
        x, other = random.random((rows, 4), np.float32), random.random((rows, 4), np.float32)
        kept = first.run({"x": x})["y"]
        np.testing.assert_allclose(second.run({"x": other})["y"], other @ WEIGHTS, rtol=1e-5)
        np.testing.assert_allclose(kept, x @ WEIGHTS, rtol=1e-5)


def test_more_shapes_than_there_are_buffers_for_are_answered_all_the_same(tmp_path: Path) -> None:
    (lane,) = _lanes(_session(models.product(tmp_path / "m.onnx", WEIGHTS)))
    for rows in (*range(1, 70), 1):
        x = np.full((rows, 4), rows, np.float32)
        np.testing.assert_allclose(lane.run({"x": x})["y"], x @ WEIGHTS, rtol=1e-5)


def test_a_batch_that_fails_leaves_the_lane_alive_if_the_gpu_is(tmp_path: Path) -> None:
    asked: list[str] = []
    session = _session(models.product(tmp_path / "m.onnx", WEIGHTS))
    (lane,) = _lanes(session, check=lambda: asked.append("check"))
    with pytest.raises(InferenceFailed):
        lane.run({"x": np.zeros((1, 3), np.float32)})
    assert asked == ["check"]
    assert lane.run({"x": np.ones((1, 4), np.float32)})["y"].shape == (1, 3)
    assert asked == ["check"]


@pytest.mark.parametrize("dtype", [DType.BF16, DType.BYTES, DType.FP32])
def test_so_does_one_of_a_model_whose_inputs_cannot_be_bound(dtype: DType, tmp_path: Path) -> None:
    asked: list[str] = []
    settings = ModelSettings() if dtype is DType.FP32 else _settings()
    session = _session(models.identity(tmp_path / "m.onnx", dtype))
    instance = OrtModel(session, settings, lambda: asked.append("check")).instance()
    with pytest.raises(InferenceFailed):
        instance.run({"x": np.zeros((1, 2), dtype.numpy)})
    assert asked == ["check"]


@pytest.mark.parametrize(("dtype", "lanes"), [(DType.BF16, 1), (DType.BYTES, 1), (DType.FP16, 2)])
def test_bytes_are_made_numbers_for_models_whose_tensors_cannot_all_be_bound(
    dtype: DType, lanes: int, tmp_path: Path
) -> None:
    path = models.write(
        tmp_path / "m.onnx",
        [models.node("Cast", ["x"], ["y"], to=models.ONNX_TYPES[dtype])],
        {"x": (DType.FP32, ("N", 4))},
        {"y": (dtype, ("N", 4))},
    )
    settings = _settings(normalise={"x": {"scale": 0.5}})
    model = OrtModel(_session(path), settings)
    assert len(lanes_of(model, 1)) == len(lanes_of(adapt(model, settings), 1)) == lanes


def test_a_gpu_that_answers_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[object] = []
    monkeypatch.setattr(gpu_fault, "end", lambda *told: ends.append(told))
    kept = onnxruntime.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cpu", 0)
    end_if_lost(kept, "cuda:0")
    assert not ends


def test_the_process_ends_that_has_lost_its_gpu() -> None:
    text = """
from headrace.engine.backends.onnxruntime_cuda import end_if_lost

class Lost:
    def update_inplace(self, _):
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

try:
    end_if_lost(Lost(), "cuda:1")
finally:
    print("goes on")
"""
    ended = subprocess.run(
        [sys.executable, "-c", text], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 70
    assert re.search(r"gpu_lost.*cuda:1.*CUDA failure 700", ended.stdout + ended.stderr)
    assert "goes on" not in ended.stdout


@pytest.mark.parametrize("on_cpu", [frozenset(), frozenset("x")])
def test_inputs_that_are_copied_where_they_are_bound_are_not_those_of_a_run_before(
    on_cpu: frozenset[str], tmp_path: Path
) -> None:
    session = _session(models.product(tmp_path / "m.onnx", WEIGHTS))
    (lane,) = _lanes(session, wrap=Elsewhere, on_cpu=on_cpu)
    for value in (1, 2, 3):
        x = np.full((1, 4), value, np.float32)
        np.testing.assert_allclose(lane.run({"x": x})["y"], x @ WEIGHTS, rtol=1e-5)


@pytest.mark.parametrize("on_cpu", [frozenset(), frozenset("x")])
def test_outputs_may_have_other_shapes_at_each_run(on_cpu: frozenset[str], tmp_path: Path) -> None:
    path = models.write(
        tmp_path / "m.onnx",
        [models.node("NonZero", ["x"], ["y"])],
        {"x": (DType.FP32, ("N", 4))},
        {"y": (DType.INT64, (2, "found"))},
    )
    (lane,) = _lanes(_session(path), on_cpu=on_cpu)
    for row in ([0, 3, 0, 0], [1, 0, 2, 5], [0, 0, 0, 0]):
        found = lane.run({"x": np.array([row], np.float32)})["y"]
        assert found[1].tolist() == np.flatnonzero(row).tolist()


@pytest.mark.parametrize("on_cpu", [frozenset(), frozenset("x")])
@pytest.mark.parametrize("dtype", [d for d in DType if d not in {DType.BF16, DType.BYTES}])
@pytest.mark.parametrize("dims", [(), (2, 3), (2, 0)])
def test_a_lane_takes_every_dtype_and_any_number_of_axes(
    dims: tuple[int, ...], dtype: DType, on_cpu: frozenset[str], tmp_path: Path
) -> None:
    path = models.identity(tmp_path / "m.onnx", dtype, dims)
    (lane,) = _lanes(_session(path), on_cpu=on_cpu)
    for value in (0, 1):
        x = np.full(dims, value, dtype.numpy)
        x.flags.writeable = False
        y = lane.run({"x": x})["y"]
        assert (y.dtype, y.shape, y.tolist()) == (x.dtype, x.shape, x.tolist())


def test_it_is_asked_which_inputs_are_used_on_the_processor(tmp_path: Path) -> None:
    session = _session(models.product(tmp_path / "m.onnx", WEIGHTS))
    known = hasattr(session, "get_input_memory_infos")
    assert inputs_on_cpu(session) == ({"x"} if known else set())
    nodes = [SimpleNamespace(name=name) for name in ("image", "sizes")]
    where = [SimpleNamespace(name=name) for name in ("Cuda", "Cpu")]
    double: Any = SimpleNamespace(get_inputs=lambda: nodes)
    assert inputs_on_cpu(double) == set()
    double.get_input_memory_infos = lambda: where
    assert inputs_on_cpu(double) == {"sizes"}


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="it has CUDA")
@pytest.mark.parametrize("keys", [{}, {"backend": "onnxruntime"}, {"backend": "tensorrt"}])
def test_a_library_without_cuda_is_told_with_what_to_install(
    keys: dict[str, str], tmp_path: Path
) -> None:
    path = models.product(tmp_path / "m.onnx", WEIGHTS)
    with pytest.raises(DeviceMissing, match=r"has no CUDA: .*onnxruntime-gpu\[cuda,cudnn\]"):
        backends.load(path, _settings(**keys))


@pytest.mark.parametrize(
    ("text", "backend", "expected"),
    [
        ("", "tensorrt", True),
        ("", "onnxruntime", False),
        ("raise AttributeError('numpy')", "tensorrt", True),
        ("raise OSError('libnvinfer.so.10: cannot open shared object file')", "tensorrt", True),
        ("import nothing_that_is_there", "tensorrt", True),
    ],
)
def test_the_libraries_of_tensorrt_are_loaded_by_its_package(
    text: str, backend: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    source = f"from pathlib import Path\nPath({str(asked)!r}).touch()\n{text}\n"
    (tmp_path / "tensorrt.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    load_libraries(_settings(backend=backend))
    assert asked.exists() is expected
    sys.modules.pop("tensorrt", None)


def test_a_run_that_fails_on_a_gpu_is_not_done_on_another_device(tmp_path: Path) -> None:
    class Failing:
        def run(self, *_: object) -> None:
            raise EPFail("TensorRT EP execution context enqueue failed.")

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    path = models.product(tmp_path / "m.onnx", WEIGHTS)
    settings = ModelSettings.model_validate({"backend": "onnxruntime"})
    instance: Any = backends.load(path, settings)[1].instance()
    inner = instance._session._sess
    instance._session._sess = Failing()
    for _ in range(2):
        with pytest.raises(InferenceFailed, match="enqueue failed"):
            instance.run({"x": np.ones((1, 4), np.float32)})


def test_what_a_gpu_could_not_load_is_told_with_what_to_install() -> None:
    error = RuntimeError("Failed to load library libonnxruntime_providers_tensorrt.so")
    told = refusal(Path("m.onnx"), _settings(backend="tensorrt"), error)
    assert re.search(
        r"cannot load m\.onnx on cuda:1: Failed to load .*; .* pip install tensorrt", told.message
    )


def test_tensorrt_is_for_gpus(tmp_path: Path) -> None:
    path = models.product(tmp_path / "m.onnx", WEIGHTS)
    with pytest.raises(ModelLoadError, match="TensorRT runs on a GPU: say device: cuda"):
        backends.load(path, ModelSettings.model_validate({"backend": "tensorrt"}))


def test_openvino_is_for_the_processor(tmp_path: Path) -> None:
    path = models.product(tmp_path / "m.onnx", WEIGHTS)
    with pytest.raises(ModelLoadError, match=r"cannot load .* on cuda:1: OpenVINO runs it on the"):
        backends.load(path, _settings(backend="openvino"))
