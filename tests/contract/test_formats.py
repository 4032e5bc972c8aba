"""Files of other frameworks give the numbers that those gave: TFLite, SavedModel, .pt2."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from headrace.engine import backends
from headrace.errors import BackendMissing, ModelLoadError
from headrace.settings import ModelSettings
from headrace.values import DType

X = np.array([[1, 2, 3, 4], [0.5, -1, 0, 2], [-3, 0, 0, 1]], np.float32)
WEIGHTS = (np.arange(12, dtype=np.float32).reshape(4, 3) - 5) / 2

# In processes of their own: these libraries take seconds to import, and print, and warn.
TENSORFLOW = """
import sys
import tensorflow as tf

class Linear(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable((tf.reshape(tf.range(12, dtype=tf.float32), (4, 3)) - 5) / 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        y = tf.matmul(x, self.w)
        return {"y": y, "same": y, "top": tf.argmax(y, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def passes(self, x):
        return {"x": x * 2, "y": x}

model = Linear()
call = model.__call__.get_concrete_function()
tf.saved_model.save(model, sys.argv[1] + "/saved", signatures={"serving_default": call})
call_too = model.passes.get_concrete_function()
tf.saved_model.save(model, sys.argv[1] + "/passes", signatures={"serving_default": call_too})
lite = tf.lite.TFLiteConverter.from_concrete_functions([call], model).convert()
open(sys.argv[1] + "/model.tflite", "wb").write(lite)
"""
TORCH = """
import sys
import torch

class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter((torch.arange(12.0).reshape(4, 3) - 5) / 2)

    def forward(self, x):
        y = x @ self.w
        return {"y": y, "top": y.argmax(1)}

free = ({0: torch.export.Dim.DYNAMIC},)
program = torch.export.export(Linear(), (torch.zeros(2, 4),), dynamic_shapes=free)
torch.export.save(program, sys.argv[1] + "/model.pt2")
"""

REMEMBERS = """
import sys
import torch

class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += 1
        return x + self.seen

program = torch.export.export(Counter(), (torch.zeros(2, 4),))
torch.export.save(program, sys.argv[1] + "/model.pt2")
"""

needs_tensorflow = pytest.mark.skipif(not find_spec("tensorflow"), reason="wants tensorflow")
needs_torch = pytest.mark.skipif(not find_spec("torch"), reason="wants torch")


def written(script: str, folder: Path) -> Path:
    subprocess.run([sys.executable, "-c", script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def tensorflow_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(TENSORFLOW, tmp_path_factory.mktemp("tensorflow"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(TORCH, tmp_path_factory.mktemp("torch")) / "model.pt2"


@needs_tensorflow
@pytest.mark.slow
def test_a_saved_model_has_the_names_of_its_signature(tensorflow_files: Path) -> None:
    name, model = backends.load(tensorflow_files / "saved/saved_model.pb", ModelSettings())
    assert name == "openvino"
    assert model.signature.batched
    assert [spec.name for spec in model.signature.inputs] == ["x"]
    assert {spec.name for spec in model.signature.outputs} == {"y", "same", "top"}
    outputs = model.instance().run({"x": X})
    np.testing.assert_allclose(outputs["y"], X @ WEIGHTS, rtol=1e-6)
    np.testing.assert_allclose(outputs["same"], X @ WEIGHTS, rtol=1e-6)
    assert outputs["top"].tolist() == (X @ WEIGHTS).argmax(1).tolist()


@needs_tensorflow
def test_an_output_that_is_an_input_is_refused_for_its_name_is_lost(tensorflow_files: Path) -> None:
    with pytest.raises(ModelLoadError, match="an output is the input 'x' as it came"):
        backends.load(tensorflow_files / "passes/saved_model.pb", ModelSettings())


@needs_tensorflow
@pytest.mark.slow
def test_a_tflite_file_is_read(tensorflow_files: Path) -> None:
    name, model = backends.load(tensorflow_files / "model.tflite", ModelSettings())
    assert name == "openvino"
    [given] = model.signature.inputs
    numbers = next(spec for spec in model.signature.outputs if spec.dtype is DType.FP32)
    outputs = model.instance().run({given.name: X})
    np.testing.assert_allclose(outputs[numbers.name], X @ WEIGHTS, rtol=1e-6)


@needs_tensorflow
@pytest.mark.parametrize("name", ["saved/saved_model.pb", "model.tflite"])
def test_half_a_file_of_tensorflow_is_refused_with_its_name(
    name: str, tensorflow_files: Path, tmp_path: Path
) -> None:
    whole = (tensorflow_files / name).read_bytes()
    path = tmp_path / Path(name).name
    for part in (b"", whole[:100], whole[: len(whole) // 2], b"<html>" * 50):
        path.write_bytes(part)
        with pytest.raises(ModelLoadError) as caught:
            backends.load(path, ModelSettings())
        assert str(path) in caught.value.message


@needs_torch
@pytest.mark.slow
def test_an_exported_program_has_the_names_of_its_function(program: Path) -> None:
    name, model = backends.load(program, ModelSettings())
    assert name == "torch"
    assert model.signature.batched
    assert [(s.name, s.dtype, s.wire_shape) for s in model.signature.inputs] == [
        ("x", DType.FP32, (-1, 4))
    ]
    assert [(s.name, s.dtype, s.wire_shape) for s in model.signature.outputs] == [
        ("y", DType.FP32, (-1, 3)),
        ("top", DType.INT64, (-1,)),
    ]
    instance = model.instance()
    for rows in (1, 3):
        outputs = instance.run({"x": X[:rows]})
        np.testing.assert_allclose(outputs["y"], X[:rows] @ WEIGHTS, rtol=1e-6)
        assert outputs["top"].tolist() == (X[:rows] @ WEIGHTS).argmax(1).tolist()


def changed(source: Path, target: Path, *, inner: str, content: bytes, kind: int = 0) -> Path:
    """The archive with one file's content replaced, compressed if ``kind`` says so."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for one in old.infolist():
            data = content if one.filename.endswith(inner) else old.read(one)
            new.writestr(one.filename, data, compress_type=kind)
    return target


@needs_torch
@pytest.mark.slow
def test_a_program_that_remembers_is_refused(tmp_path: Path) -> None:
    path = written(REMEMBERS, tmp_path) / "model.pt2"
    with pytest.raises(ModelLoadError, match=r"it changes seen when it runs.*`sequence`"):
        backends.load(path, ModelSettings())


@needs_torch
@pytest.mark.slow
def test_a_program_that_would_unfold_is_refused(program: Path, tmp_path: Path) -> None:
    zeros = bytes(1 << 24)
    path = changed(
        program, tmp_path / "b.pt2", inner="weight_0", content=zeros, kind=zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 1 << 18
    with pytest.raises(ModelLoadError, match="compressed"):
        backends.load(path, ModelSettings())


@needs_torch
@pytest.mark.slow
def test_a_broken_program_is_refused_with_its_name(program: Path, tmp_path: Path) -> None:
    whole = program.read_bytes()
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    path = tmp_path / "m.pt2"
    for content in (b"", whole[: len(whole) // 2], b"\0" * 500, empty.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ModelLoadError) as caught:
            backends.load(path, ModelSettings())
        assert str(path) in caught.value.message


def test_without_pytorch_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python itself does for a package that is not there; undone after the test.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "headrace.engine.backends.torch_", raising=False)
    with pytest.raises(BackendMissing, match=r"pip install 'headrace\[torch\]'"):
        backends.load(tmp_path / "m.pt2", ModelSettings())
