"""Labs: real processes that load real models, and what becomes of those that cannot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from PIL import Image
from rich.console import Console

from headrace.errors import ModelLoadError, SettingsError
from headrace.fingerprint import fingerprint
from headrace.load.command.drive import screen
from headrace.settings import BackendName, ModelSettings, Precision
from headrace.tune import labs as labs_module
from headrace.tune import profile as profile_module
from headrace.tune.bench import Bench, Subject
from headrace.tune.budget import Budget
from headrace.tune.data import Samples, load_samples
from headrace.tune.job import Job
from headrace.tune.journal import Journal
from headrace.tune.labs import Found, look
from headrace.tune.messages import Loaded
from headrace.tune.mixing import can_mix
from headrace.tune.model import find_model
from headrace.tune.profile import profile
from headrace.tune.progress import Progress
from headrace.tune.space import Variant, make_space
from headrace.tune.wanted import Objective, Wanted
from headrace.values import DType
from tests.contract.models import node, python, write
from tests.contract.test_backends import write_sensitive
from tests.contract.test_formats import TORCH, needs_torch, written
from tests.e2e.models import write_fake

pytestmark = pytest.mark.slow
BOTH = (BackendName.OPENVINO, BackendName.ONNXRUNTIME)


def looked(
    path: Path,
    backends: tuple[BackendName, ...],
    data: Path | None = None,
    cores: int = 1,
    features: tuple[str, ...] = (),
    total_s: float = 60.0,
    spent: float = 1.0,  # over: one round of everything
) -> Found:
    with doing(path, data, total_s, spent) as job:
        return look(make_space(backends, features, cores), job)


@contextmanager
def doing(
    path: Path, data: Path | None = None, total_s: float = 60.0, spent: float = 1.0
) -> Iterator[Job]:
    wanted = Wanted(Objective(0.05), 0.005, total_s)
    budget = Budget(time.monotonic() - spent * total_s, total_s)
    with screen(Console(quiet=True)) as shown, Journal(None) as journal:
        progress = Progress(shown, budget, time.monotonic)
        yield Job(find_model(str(path), 0.05), wanted, data, journal, progress)


def write_scores(folder: Path, dtype: DType = DType.FP32) -> Path:
    """Four numbers become scores of three classes."""
    write(
        folder / "scores.onnx",
        [node("MatMul", ["x", "w"], ["logits"])],
        {"x": (dtype, ("N", 4))},
        {"logits": (dtype, ("N", 3))},
        {"w": np.random.default_rng(0).normal(size=(4, 3)).astype(dtype.numpy)},
    )
    (folder / "card.yaml").write_text("max_batch: 4\n")
    return folder / "scores.onnx"


def test_two_libraries_are_measured_and_answer_alike(tmp_path: Path) -> None:
    found = looked(write_scores(tmp_path), BOTH)
    assert [one.variant.arithmetic for one in found.measured] == ["openvino f32", "onnxruntime f32"]
    for one in found.measured:
        assert one.sizes[0] == 1
        assert all(point.median_s > 0 for point in one.points)
    ((kind, accuracy),) = found.gated.accuracy.items()
    # A run is shorter than half a millisecond: untuned, the faster of both serves.
    assert {kind, found.untuned.variant.arithmetic} == {"openvino f32", "onnxruntime f32"}
    assert accuracy.cosine > 0.9999
    assert not found.gated.failed
    assert found.samples.labels is None


def test_labels_are_compared_with_where_there_are_any(tmp_path: Path) -> None:
    path = write_scores(tmp_path)
    x = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, labels=np.zeros(40, np.int64))
    found = looked(path, BOTH, tmp_path / "data.npz")
    ((_, accuracy),) = found.gated.accuracy.items()
    assert accuracy.labelled
    assert accuracy.drop == 0


def test_of_samples_with_labels_all_are_there_to_be_compared(tmp_path: Path) -> None:
    x = np.ones((6000, 4), np.float32)
    np.savez(tmp_path / "data.npz", x=x, labels=np.zeros(6000, np.int64))
    found = looked(write_scores(tmp_path), BOTH, tmp_path / "data.npz")
    assert len(found.samples) == 6000
    assert " of 2000 of " not in found.gated.origin


def test_samples_are_read_once_for_all_that_take_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []

    def counted(*args: Any, **others: Any) -> Samples:
        read.append(args)
        return load_samples(*args, **others)

    monkeypatch.setattr(labs_module, "load_samples", counted)
    np.savez(tmp_path / "data.npz", x=np.ones((40, 4), np.float32))
    found = looked(write_scores(tmp_path), BOTH, tmp_path / "data.npz")
    assert len(found.measured) > 1
    assert len(read) == 1


def test_data_that_does_not_fit_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object) -> None:
        pytest.fail("it was measured")

    monkeypatch.setattr(Bench, "time", measure)
    np.savez(tmp_path / "data.npz", x=np.ones((40, 5), np.float32))
    with pytest.raises(SettingsError, match="x is of shape"):
        looked(write_scores(tmp_path), BOTH, tmp_path / "data.npz")


@pytest.mark.parametrize("shape", [[1, 4], [5]])
def test_shapes_that_are_not_of_rows_are_refused_before_anything_is_measured(
    tmp_path: Path, shape: list[int]
) -> None:
    path = write_scores(tmp_path)
    (tmp_path / "card.yaml").write_text(f"warm_shapes: {{x: [{shape}]}}\n")
    with pytest.raises(ModelLoadError, match=r"warm_shapes has .* of which a row is \[4\]"):
        looked(path, BOTH)


def test_a_table_of_one_row_is_looked_up_with_zeros(tmp_path: Path) -> None:
    write(
        tmp_path / "kinds.onnx",
        [node("Gather", ["table", "ids"], ["y"])],
        {"ids": (DType.INT64, ("N", 4))},
        {"y": (DType.FP32, ("N", 4, 3))},
        {"table": np.ones((1, 3), np.float32)},
    )
    np.savez(tmp_path / "data.npz", ids=np.zeros((8, 4), np.int64))
    found = looked(tmp_path / "kinds.onnx", BOTH, tmp_path / "data.npz")
    assert {one.sizes[0] for one in found.measured} == {1}
    assert not found.gated.failed


def test_samples_may_be_of_another_shape_than_was_measured(tmp_path: Path) -> None:
    ports = {"x": (DType.FP32, ("N", "length"))}
    relu = [node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "relu.onnx", relu, ports, {"y": (DType.FP32, ("N", "length"))})
    np.savez(tmp_path / "data.npz", x=np.ones((40, 20), np.float32))
    found = looked(path, BOTH, tmp_path / "data.npz")
    assert found.loaded.shape == {"x": (16,)}  # a guess
    assert found.samples.inputs["x"].shape == (40, 20)
    assert found.gated.accuracy


def test_what_computes_integers_in_fewer_bits_than_the_samples_have_is_left_out(
    tmp_path: Path,
) -> None:
    ports = {"x": (DType.INT64, ("N", 4))}
    add = [node("Add", ["x", "one"], ["y"])]
    outputs = {"y": (DType.INT64, ("N", 4))}
    path = write(tmp_path / "add.onnx", add, ports, outputs, {"one": np.ones(1, np.int64)})
    np.savez(tmp_path / "data.npz", x=np.full((40, 4), 2**40))
    found = looked(path, BOTH, tmp_path / "data.npz")
    assert [one.variant.arithmetic for one in found.measured] == ["onnxruntime f32"]
    assert found.untuned.variant.arithmetic == "onnxruntime f32"
    left_out = {one.what: one.why for one in found.profiled.failed}
    assert "does not fit 32 bits" in left_out["openvino f32, 1 thread"]


def test_samples_of_bfloat16_are_answered(tmp_path: Path) -> None:
    cast = [node("Cast", ["x"], ["y"], to=1)]
    ports = {"x": (DType.BF16, ("N", 4))}
    path = write(tmp_path / "cast.onnx", cast, ports, {"y": (DType.FP32, ("N", 4))})
    np.savez(tmp_path / "data.npz", x=np.ones((40, 4), DType.BF16.numpy))
    found = looked(path, BOTH, tmp_path / "data.npz")
    assert found.samples.inputs["x"].dtype == DType.BF16.numpy
    assert found.gated.accuracy


def test_folders_are_called_by_the_names_of_classes_in_the_file(tmp_path: Path) -> None:
    dims = {"x": (DType.FP32, ("N", 3, 1, 1))}
    flat = [node("Flatten", ["x"], ["y"])]
    path = write(tmp_path / "flat.onnx", flat, dims, {"y": (DType.FP32, ("N", 3))})
    model = onnx.load(path)
    model.metadata_props.add(key="names", value="{0: 'dog', 1: 'fox', 2: 'cat'}")
    onnx.save(model, path)
    (tmp_path / "card.yaml").write_text("accepts:\n  - {kind: image, input: x}\n")
    for name, color in (("cat", (0, 0, 255)), ("dog", (255, 0, 0))):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (1, 1), color).save(folder / f"{number}.png")
    found = looked(path, BOTH, tmp_path / "data")
    assert found.samples.labels is not None
    assert set(found.samples.labels.tolist()) == {0, 2}
    (judgement,) = found.gated.judgements
    assert "top-1 100.00% before" in judgement.reason


@pytest.mark.parametrize(("dtype", "metric"), [("FP32", "cosine"), ("INT64", "top1_agreement")])
def test_answers_are_compared_whose_shape_the_values_decide(
    dtype: str, metric: str, tmp_path: Path
) -> None:
    kind = DType(dtype)
    write(
        tmp_path / "found.onnx",
        [
            node("Greater", ["x", "zero"], ["above"]),
            node("Compress", ["x", "above"], ["kept"], axis=0),
            node("Cast", ["kept"], ["y"], to=1 if kind is DType.FP32 else 7),
        ],
        {"x": (DType.FP32, (8,))},
        {"y": (kind, ("K",))},
        {"zero": np.zeros((), np.float32)},
    )
    (tmp_path / "card.yaml").write_text("batched: false\n")
    found = looked(tmp_path / "found.onnx", BOTH)
    ((_, accuracy),) = found.gated.accuracy.items()
    assert accuracy.metric == metric
    assert accuracy.cosine == 1.0
    assert not found.gated.failed


def test_what_one_library_cannot_load_is_left_out_with_its_reason(tmp_path: Path) -> None:
    found = looked(write_scores(tmp_path, DType.FP64), BOTH)
    assert [one.variant.arithmetic for one in found.measured] == ["onnxruntime f32"]
    failed = found.profiled.failed
    assert [one.what for one in failed] == ["openvino f32, 1 thread", "openvino int8, 1 thread"]
    assert all("use backend onnxruntime" in one.why for one in failed)


@needs_torch
def test_what_is_not_compiled_in_time_is_left_out_for_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "never"
    compiler.write_text("#!/bin/sh\nexec sleep 1000\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    path = written(TORCH, tmp_path) / "model.pt2"
    found = looked(path, (BackendName.TORCH, BackendName.INDUCTOR), cores=2)
    assert {one.variant.arithmetic for one in found.measured} == {"torch f32"}
    assert found.untuned.backend is BackendName.TORCH
    assert [one.what for one in found.profiled.failed] == [
        "inductor f32, 1 thread",
        "inductor f32, 2 threads",
    ]
    assert {one.why for one in found.profiled.failed} == {
        "it was not done in 3 s: --budget gives more"
    }


def test_a_lab_that_dies_is_a_variant_that_failed(tmp_path: Path) -> None:
    ports = {"inputs": {"x": ["INT64", [None, 4]]}, "outputs": {"y": ["INT64", [None, 4]]}}
    path = write_fake(tmp_path / "crash.fake", crash_at=1, **ports)
    with pytest.raises(ModelLoadError, match="was killed by SIGKILL"):
        looked(path, (BackendName.FAKE,))


def test_labs_of_all_variants_are_not_in_memory_at_once_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_module, "room_bytes", lambda _: 1.0)
    there: list[int] = []

    def look_on(_: Loaded) -> None:
        there.append(len(psutil.Process().children()))

    before = len(psutil.Process().children())
    path = write_fake(tmp_path / "m.fake")
    subject = Subject(path, ModelSettings(max_batch=1), 0.05, 4)
    with doing(path) as job, ExitStack() as labs:
        variants = [Variant(BackendName.FAKE, Precision.F32, threads) for threads in (1, 2, 4)]
        benches = [Bench(variant, subject, job.journal) for variant in variants]
        for bench in benches:
            labs.callback(bench.close)
        profiled = profile(benches, subject, job.progress, look_on)
        assert len(profiled.measured) == 3
        assert there == [before + 1] * 3
        assert len(psutil.Process().children()) == before
        assert benches[0].lab().time(1), "what is asked after that starts it again"


def test_answers_are_compared_where_labs_have_no_room_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_module, "room_bytes", lambda _: 1.0)
    found = looked(write_scores(tmp_path), BOTH)
    assert len(found.gated.accuracy) == 1
    assert not found.gated.failed


def test_a_batch_that_does_not_run_costs_no_smaller_one(tmp_path: Path) -> None:
    body = "if len(batch['x']) > 2:\n    raise MemoryError('no room')\nreturn {'y': batch['x']}"
    found = looked(python(tmp_path / "m.py", body), (BackendName.PYTHON,))
    (measured,) = found.measured
    assert measured.sizes == (1, 2)
    assert not found.profiled.failed


# -- the first layers in f32 -----------------------------------------------------------------------

needs_bf16 = pytest.mark.skipif(
    not {"amx_bf16", "avx512_bf16"} & set(fingerprint().features),
    reason="this processor has no bf16",
)


@needs_bf16
def test_what_fails_in_bf16_passes_with_its_first_layer_in_f32(tmp_path: Path) -> None:
    found = mixing(write_sensitive(tmp_path / "m.onnx"))
    left_out = {one.what: one.why for one in found.gated.failed}
    assert left_out.keys() == {"openvino bf16"}
    assert "cosine" in left_out["openvino bf16"] or "best class" in left_out["openvino bf16"]
    mixed = next(one for one in found.measured if one.variant.f32_layers)
    assert mixed.variant == Variant(BackendName.OPENVINO, Precision.BF16, 1, 1)
    assert found.gated.accuracy[mixed.variant.arithmetic].cosine > 0.999


def test_where_somebody_says_how_many_no_other_number_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = write_scores(tmp_path), []
    plain = Variant(BackendName.OPENVINO, Precision.BF16, 1)
    for said in (None, "0"):
        if said is not None:
            monkeypatch.setenv("HEADRACE_DEFAULTS__F32_LAYERS", said)
        with doing(path) as job:
            found.append(can_mix(plain, job))
    assert found == [True, False]


@needs_bf16
def test_where_no_number_of_layers_helps_it_is_told_what_was_tried(tmp_path: Path) -> None:
    found = mixing(write_sensitive(tmp_path / "m.onnx", before=2, after=0))
    why = {one.what: one.why for one in found.gated.failed}
    assert "and f32_layers 4 leaves none" in why["openvino bf16 with its first layers in f32"]


def mixing(path: Path) -> Found:
    """Look with time left to mix, on samples that bf16 can hardly tell from each other."""
    (path.parent / "card.yaml").write_text("max_batch: 2\n")
    data = path.parent / "samples.npz"
    random = np.random.default_rng(8)
    np.savez(data, x=(1 + 0.001 * random.standard_normal((64, 64))).astype(np.float32))
    return looked(path, BOTH[:1], data, features=("amx_bf16",), total_s=600.0, spent=0.36)
