"""Files of other frameworks give the numbers that those gave: TFLite, SavedModel, PyTorch's."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.documents import parse
from headrace.engine import backends
from headrace.engine.backends.contract import Model
from headrace.errors import BackendMissing, InferenceFailed, InvalidInput, ModelLoadError
from headrace.settings import Card, ModelSettings
from headrace.values import DType
from tests.contract import models

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

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="images")])
    def more(self, images):
        return {"sums": tf.reduce_sum(tf.matmul(images, self.w), 1)}

model = Linear()
call = model.__call__.get_concrete_function()
tf.saved_model.save(model, sys.argv[1] + "/saved", signatures={"serving_default": call})
call_too = model.passes.get_concrete_function()
tf.saved_model.save(model, sys.argv[1] + "/passes", signatures={"serving_default": call_too})
call_more = model.more.get_concrete_function()
several = {"serving_default": call, "more": call_more, "passes": call_too}
tf.saved_model.save(model, sys.argv[1] + "/several", signatures=several)
tf.saved_model.save(model, sys.argv[1] + "/two", signatures={"a": call, "b": call_more})
tf.saved_model.save(model, sys.argv[1] + "/one", signatures={"more": call_more})
tf.saved_model.save(model, sys.argv[1] + "/none")
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

MAKES_ITS_OWN = """
import sys
import torch

class Ones(torch.nn.Module):
    def forward(self, x):
        return x + torch.ones(4, device=x.device)

free = ({0: torch.export.Dim.DYNAMIC},)
program = torch.export.export(Ones(), (torch.zeros(2, 4),), dynamic_shapes=free)
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

SCRIPT = """
import sys
import warnings

import torch

warnings.simplefilter("ignore")
folder = sys.argv[1]


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter((torch.arange(12.0).reshape(4, 3) - 5) / 2)

    def forward(self, x):
        y = x @ self.w
        return {"top": y.argmax(1), "y": y}


class Less(torch.nn.Module):
    def forward(self, left, right):
        return left - right, left.to(torch.bfloat16)


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += 1
        return x + self.seen


class Bomb:
    def __reduce__(self):
        return open, (folder + "/unpickled", "w")


def traced(module, *inputs):
    return torch.jit.trace(module, inputs, strict=False, check_trace=False)


x = torch.ones(2, 4)
traced(Linear(), x).save(folder + "/model.pt")
traced(Less(), x, x).save(folder + "/less.pt")
traced(Counter(), x).save(folder + "/counter.pt")
layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.9))
traced(layers, x).save(folder + "/in_training.pt")
torch.jit.script(torch.nn.Embedding(4, 2)).save(folder + "/words.pt")
torch.jit.script(layers).save(folder + "/layers.pt")
torch.save(layers.eval()(x).detach(), folder + "/expected")
torch.save(Bomb(), folder + "/bomb.pt")
torch.save(Bomb(), folder + "/old_bomb.pt", _use_new_zipfile_serialization=False)
torch.save(layers.state_dict(), folder + "/weights.pt")
"""
LINEAR: dict[str, list[dict[str, Any]]] = {
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [None, 4]}],
    "outputs": [
        {"name": "y", "dtype": "FP32", "shape": [None, 3]},
        {"name": "top", "dtype": "INT64", "shape": [-1]},
    ],
}

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
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "asked", "output"),
    [
        ("several", None, "y"),
        ("several", "serving_default", "y"),
        ("several", "more", "sums"),
        ("two", "b", "sums"),
        ("one", None, "sums"),
        ("one", "more", "sums"),
    ],
)
def test_a_saved_model_is_served_by_the_signature_asked_for(
    tensorflow_files: Path, name: str, asked: str | None, output: str
) -> None:
    path = tensorflow_files / name / "saved_model.pb"
    model = backends.load(path, ModelSettings(signature_name=asked))[1]
    (given,) = model.signature.inputs
    assert given.name == {"y": "x", "sums": "images"}[output]
    expected = {"y": X @ WEIGHTS, "sums": (X @ WEIGHTS).sum(1)}[output]
    answer = model.instance().run({given.name: X})[output]
    np.testing.assert_allclose(answer, expected, rtol=1e-6)


@needs_tensorflow
@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("several", "other", "no signature 'other'; .*: more, passes, serving_default"),
        (
            "two",
            None,
            "no signature 'serving_default'; name one of these as `signature_name`: a, b",
        ),
        ("one", "serving_default", "no signature 'serving_default'; .*: more"),
        ("none", None, "no signature 'serving_default'; .*: there are none"),
    ],
)
def test_a_signature_that_a_saved_model_lacks_is_told_with_those_it_has(
    tensorflow_files: Path, name: str, asked: str | None, said: str
) -> None:
    with pytest.raises(ModelLoadError, match=said):
        backends.load(
            tensorflow_files / name / "saved_model.pb", ModelSettings(signature_name=asked)
        )


@needs_tensorflow
def test_an_output_that_is_an_input_is_refused_for_its_name_is_lost(tensorflow_files: Path) -> None:
    with pytest.raises(ModelLoadError, match="an output is the input 'x' as it came"):
        backends.load(tensorflow_files / "passes/saved_model.pb", ModelSettings())


@needs_tensorflow
@pytest.mark.slow
def test_a_tflite_file_has_the_names_of_its_signature(tensorflow_files: Path) -> None:
    name, model = backends.load(tensorflow_files / "model.tflite", ModelSettings())
    assert name == "openvino"
    outputs = model.instance().run({"x": X})
    # Of `y`, which is the same tensor, TFLite has no output of its own.
    assert {spec.name for spec in model.signature.outputs} == {"same", "top"}
    np.testing.assert_allclose(outputs["same"], X @ WEIGHTS, rtol=1e-6)


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


def written_on_a_gpu(program: Path, target: Path) -> Path:
    """The same, but for where it says that its tensors were."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(target, "w") as new:
        for one in old.infolist():
            said = old.read(one)
            there = said.replace(b'"cpu"', b'"cuda"')
            new.writestr(one.filename, there if one.filename.endswith(".json") else said)
    return target


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "inductor"])
@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="there it is")
def test_a_program_whose_gpu_is_missing_is_told_so(
    program: Path, tmp_path: Path, backend: str
) -> None:
    path = written_on_a_gpu(program, tmp_path / "m.pt2")
    settings = ModelSettings.model_validate({"backend": backend})
    with pytest.raises(ModelLoadError, match=r"exported on a GPU.*export it .* on the CPU") as told:
        backends.load(path, settings)
    assert "whole file" not in told.value.message


@needs_torch
@pytest.mark.slow
def test_a_program_of_a_gpu_runs_where_it_is_served(tmp_path: Path) -> None:
    path = written_on_a_gpu(written(MAKES_ITS_OWN, tmp_path) / "model.pt2", tmp_path / "m.pt2")
    _, model = backends.load(path, ModelSettings())
    found = model.instance().run({"x": np.zeros((3, 4), np.float32)})
    assert np.array_equal(found["output_0"], np.ones((3, 4)))


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


# -- TorchScript -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(SCRIPT, tmp_path_factory.mktemp("scripts"))


def tensor(name: str, dtype: str = "FP32", shape: Sequence[int | None] = (None, 4)) -> Any:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def carded(path: Path, signature: Any) -> Model:
    return backends.load(path, ModelSettings.model_validate({"signature": signature}))[1]


@needs_torch
@pytest.mark.slow
def test_torchscript_has_the_names_of_its_card(scripts: Path) -> None:
    model = carded(scripts / "model.pt", LINEAR)
    assert model.signature.batched
    assert [(s.name, s.dtype, s.wire_shape) for s in model.signature.outputs] == [
        ("y", DType.FP32, (-1, 3)),
        ("top", DType.INT64, (-1,)),
    ]
    instance = model.instance()
    for rows in (1, 3):
        outputs = instance.run({"x": X[:rows]})
        np.testing.assert_allclose(outputs["y"], X[:rows] @ WEIGHTS, rtol=1e-6)
        assert outputs["top"].tolist() == (X[:rows] @ WEIGHTS).argmax(1).tolist()


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("names", [("left", "right"), ("right", "left"), ("INPUT__0", "INPUT__1")])
def test_torchscript_takes_inputs_by_name_or_else_by_place(
    scripts: Path, names: tuple[str, str]
) -> None:
    outputs = [tensor("difference"), tensor("left", "BF16")]
    model = carded(scripts / "less.pt", {"inputs": list(map(tensor, names)), "outputs": outputs})
    values = {name: X * (index + 2) for index, name in enumerate(names)}
    left = values.get("left", X * 2)
    answer = model.instance().run(values)
    np.testing.assert_allclose(answer["difference"], left - (X * 5 - left), rtol=1e-6)
    assert answer["left"].dtype == DType.BF16.numpy
    np.testing.assert_allclose(answer["left"].astype(np.float32), left, rtol=1e-2)


@needs_torch
@pytest.mark.slow
def test_torchscript_without_a_signature_says_what_to_write(scripts: Path) -> None:
    with pytest.raises(ModelLoadError) as caught:
        backends.load(scripts / "less.pt", ModelSettings())
    example = parse(caught.value.message.partition("as in\n")[2], "card.yaml").data
    found = Card.model_validate(example).signature
    assert found is not None
    assert [one.name for one in found.inputs] == ["left", "right"]


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        (["a", "b", "c"], ["d", "l"], "has the inputs a, b, c; the program takes left, right"),
        (["left"], ["d", "l"], "has the inputs left; the program takes left, right"),
        (["a", ("b", "BYTES")], ["d", "l"], "'b' is BYTES, which PyTorch has not"),
        (["a", ("b", "UINT64")], ["d", "l"], "'b' is UINT64, which PyTorch has not"),
    ],
)
def test_a_signature_that_torchscript_does_not_have_is_refused(
    scripts: Path, inputs: list[Any], outputs: list[str], said: str
) -> None:
    given = [tensor(*((one,) if isinstance(one, str) else one)) for one in inputs]
    with pytest.raises(ModelLoadError, match=said):
        carded(scripts / "less.pt", {"inputs": given, "outputs": list(map(tensor, outputs))})


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([tensor("d")], "the program gives 2 outputs, and `signature` names 1"),
        (
            [tensor("d"), tensor("l")],
            r"'l' is BF16 \[1, 4\], and `signature` of the card says FP32 \[1, 4\]",
        ),
        (
            [tensor("d", shape=[None, 5]), tensor("l", "BF16")],
            r"'d' is FP32 \[1, 4\], and .* says FP32 \[1, 5\]",
        ),
        ([tensor("d", shape=[None]), tensor("l", "BF16")], r"says FP32 \[1\]"),
    ],
)
def test_answers_that_a_signature_does_not_name_are_told_at_once(
    scripts: Path, outputs: list[Any], said: str
) -> None:
    inputs = [tensor("left"), tensor("right")]
    with pytest.raises(ModelLoadError, match=said):
        carded(scripts / "less.pt", {"inputs": inputs, "outputs": outputs})


@needs_torch
@pytest.mark.slow
def test_inputs_that_torchscript_cannot_run_with_are_told_at_once(scripts: Path) -> None:
    said = "does not run with the inputs that `signature` names: RuntimeError: mat1 and mat2 shapes"
    with pytest.raises(ModelLoadError, match=said):
        carded(scripts / "model.pt", {**LINEAR, "inputs": [tensor("x", shape=[None, 5])]})


@needs_torch
@pytest.mark.slow
def test_a_token_that_torchscript_has_no_word_for_is_the_fault_of_who_sent_it(
    scripts: Path,
) -> None:
    ids, words = tensor("ids", "INT64", [None, None]), tensor("words", shape=[None, None, 2])
    instance = carded(scripts / "words.pt", {"inputs": [ids], "outputs": [words]}).instance()
    with pytest.raises(InvalidInput, match=r"a token .*\(RuntimeError: index out of"):
        instance.run({"ids": np.array([[3, 4]])})
    assert instance.run({"ids": np.array([[3, 0]])})["words"].shape == (1, 2, 2)


@needs_torch
@pytest.mark.slow
def test_what_a_later_answer_is_instead_of_its_signature_is_told(scripts: Path) -> None:
    free = [tensor("left", shape=[None, None]), tensor("right", shape=[None, None])]
    outputs = [tensor("d", shape=[None, 1]), tensor("l", "BF16", [None, None])]
    instance = carded(scripts / "less.pt", {"inputs": free, "outputs": outputs}).instance()
    with pytest.raises(InferenceFailed, match=r"says FP32 \[3, 1\]"):
        instance.run({"left": X, "right": X})


@needs_torch
@pytest.mark.slow
def test_a_key_that_the_answer_of_torchscript_lacks_is_told(scripts: Path) -> None:
    outputs = [{**one, "name": one["name"].upper()} for one in LINEAR["outputs"]]
    with pytest.raises(ModelLoadError, match=r"no output 'Y', .*; the program gives: top, y"):
        carded(scripts / "model.pt", {**LINEAR, "outputs": outputs})


@needs_torch
@pytest.mark.slow
def test_torchscript_that_was_saved_while_it_trained_answers_as_trained(scripts: Path) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    expected = torch.load(scripts / "expected", weights_only=True).numpy()
    signature = {"inputs": [tensor("x")], "outputs": [tensor("y")]}
    instance = carded(scripts / "layers.pt", signature).instance()
    for _ in range(2):
        answer = instance.run({"x": np.ones((2, 4), np.float32)})["y"]
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changed"), [("counter", "seen"), ("in_training", "num_batches_tracked")]
)
def test_torchscript_that_remembers_is_refused(scripts: Path, name: str, changed: str) -> None:
    with pytest.raises(ModelLoadError, match=f"it changes {changed} when it runs"):
        carded(scripts / f"{name}.pt", {"inputs": [tensor("x")], "outputs": [tensor("y")]})


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", ["bomb", "old_bomb", "weights"])
def test_what_torch_save_wrote_is_never_unpickled(scripts: Path, name: str) -> None:
    with pytest.raises(ModelLoadError, match=r"it is no TorchScript.*torch\.export\.save"):
        carded(scripts / f"{name}.pt", LINEAR)
    assert not (scripts / "unpickled").exists()


@needs_torch
@pytest.mark.slow
def test_torchscript_that_would_unfold_is_refused(scripts: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.pt"
    with zipfile.ZipFile(scripts / "model.pt") as old, zipfile.ZipFile(path, "w") as new:
        for one in old.infolist():
            new.writestr(one, old.read(one))
        bomb = zipfile.ZipInfo("model/code/more.py")
        bomb.compress_type = zipfile.ZIP_DEFLATED
        with new.open(bomb, "w", force_zip64=True) as member:
            for _ in range(257):
                member.write(bytes(2**20))
    with pytest.raises(ModelLoadError, match="bytes of compressed files in it, which is no code"):
        carded(path, LINEAR)


def test_a_model_that_says_its_signature_takes_none_from_its_card(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="leave `signature` out of its card"):
        carded(models.product(tmp_path / "m.onnx", WEIGHTS), LINEAR)


def test_without_pytorch_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python itself does for a package that is not there; undone after the test.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "headrace.engine.backends.torch_", raising=False)
    with pytest.raises(BackendMissing, match=r"pip install 'headrace\[torch\]'"):
        backends.load(tmp_path / "m.pt2", ModelSettings())
