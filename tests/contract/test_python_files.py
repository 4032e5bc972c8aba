"""A Python file with a class: what of it is wrong is told, and where."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from headrace.engine import backends
from headrace.engine.backends.contract import Instance, Model
from headrace.errors import InferenceFailed, InvalidInput, ModelLoadError
from headrace.settings import ModelSettings
from tests.contract import models

X = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
PORTS = 'inputs = {"x": ("FP32", [None, 4])}; outputs = {"y": ("FP32", [None, 4])}'


def load(path: Path) -> Model:
    name, model = backends.load(path, ModelSettings())
    assert name == "python"
    return model


def instance(folder: Path, body: str, outputs: str = "") -> Instance:
    return load(models.python(folder / "m.py", body, outputs=outputs)).instance()


@pytest.mark.parametrize(
    ("body", "outputs", "said"),
    [
        ("raise ValueError('why')", "", r"ValueError: why \(.*m\.py:9\)"),
        ("import sys; sys.exit(3)", "", r"SystemExit: 3 \(.*m\.py:9\)"),
        ("import asyncio; raise asyncio.CancelledError", "", r"CancelledError \(.*m\.py:9\)"),
        ("raise KeyboardInterrupt", "", r"KeyboardInterrupt \(.*m\.py:9\)"),
        ("batch['x'][0] = 7", "", "read-only"),
        ("return {'y': [[1], [2, 3]]}", "", "ValueError: .*inhomogeneous"),
        ("return {'y': ['a', '\\ud800']}", '{"y": ("BYTES", [None])}', "UnicodeEncodeError"),
        ("return batch['x']", "", "must return a dict of arrays by name; it returned ndarray"),
        ("return {'z': batch['x']}", "", "no output 'y'; there is: z"),
        ("return {'y': batch['x'].astype('f8')}", "", "is float64, and declared FP32"),
        ("return {'y': batch['x'][:, :3]}", "", r"shape \[2, 3\], and should have \[-1, 4\]"),
        ("return {'y': batch['x'][0]}", "", r"shape \[4\], and should have \[-1, 4\]"),
        ("return {'y': batch['x']}", '{"y": ("BYTES", [None, 4])}', "has a float32 in it"),
    ],
)
def test_what_is_wrong_with_an_answer_is_told(
    body: str, outputs: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InferenceFailed, match=said):
        instance(tmp_path, body, outputs).run({"x": X})


def test_a_model_says_itself_that_a_request_is_wrong(tmp_path: Path) -> None:
    body = "from headrace.errors import InvalidInput; raise InvalidInput('no pixels')"
    with capture_logs() as logs, pytest.raises(InvalidInput, match=r"^no pixels$"):
        instance(tmp_path, body).run({"x": X})
    assert logs == []


def test_an_answer_may_have_fewer_rows_for_not_every_model_is_batched(tmp_path: Path) -> None:
    kept = instance(tmp_path, "return {'y': batch['x'][batch['x'][:, 0] > 3]}")
    assert kept.run({"x": X})["y"].tolist() == X[1:].tolist()
    assert kept.run({"x": X[:1]})["y"].shape == (0, 4)


def test_what_warm_up_has_raise_is_logged_once_and_each_time_once_it_has_run(
    tmp_path: Path,
) -> None:
    picky = instance(tmp_path, "assert not batch['x'].any(), id(batch)\nreturn {'y': batch['x']}")

    def raised() -> int:
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(InferenceFailed, match="AssertionError"):
                    picky.run({"x": X})
        return [log["event"] for log in logs].count("model_raised")

    assert raised() == 1
    assert raised() == 0
    picky.run({"x": X * 0})
    assert raised() == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "it has: none"),
        ("class A:\n infer = 1\nclass B:\n infer = 1", "it has: A, B"),
        ("class Model:\n def infer(self, b): ...", "Model.inputs must be declared"),
        ('class Model:\n inputs = {"x": ("FP33", [1])}\n infer = 1', r"inputs\['x'\]"),
        ('class Model:\n inputs = {"x": ("FP32", ["N"])}\n infer = 1', "'N' is no size"),
        ("class Model\n pass", r"SyntaxError.*m\.py:1"),
        ("import no_such_package", r"No module named 'no_such_package' \(.*m\.py:1\)"),
        (f"class Model:\n {PORTS}; infer = 1\n def load(self, folder): 1 / 0", r"m\.py:3"),
        ("raise SystemExit(0)", r"SystemExit: 0 \(.*m\.py:1\)"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(text)
    with pytest.raises(ModelLoadError, match=said) as caught:
        load(path)
    assert str(path) in caught.value.message


CARDED = {
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [None, 4]}],
    "outputs": [{"name": "y", "dtype": "FP32", "shape": [None]}],
}


def test_a_class_may_leave_its_signature_to_the_card(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("class Model:\n def infer(self, b): return {'y': b['x'].sum(1)}\n")
    settings = ModelSettings.model_validate({"signature": CARDED})
    model = backends.load(path, settings)[1]
    assert model.signature.batched
    assert model.instance().run({"x": X})["y"].tolist() == [10, 26]
    path.write_text(f"class Model:\n {PORTS}; infer = 1\n")
    with pytest.raises(ModelLoadError, match=r"Model\.inputs is declared, and the card has a"):
        backends.load(path, settings)


def test_other_files_are_never_run(tmp_path: Path) -> None:
    path = models.python(tmp_path / "m.onnx", "return batch")
    with pytest.raises(ModelLoadError, match=r"end in \.py"):
        backends.load(path, ModelSettings.model_validate({"backend": "python"}))


ROWS = """
import numpy as np
import beside

class OnlyOne:
    inputs = {"text": (object, [None])}
    outputs = {"length": (np.int64, [None]), "upper": (str, [None])}

    def load(self, folder):
        self.factor = int((folder / "factor.txt").read_text())

    def preprocess(self, item):
        return {"text": item["text"].decode()}

    def infer(self, batch):
        return {"text": batch["text"], "length": np.array([len(t) for t in batch["text"]])}

    def postprocess(self, item):
        return {"length": item["length"] * self.factor, "upper": beside.loud(item["text"])}
"""


def test_rows_are_changed_before_and_after(tmp_path: Path) -> None:
    (tmp_path / "factor.txt").write_text("10")
    (tmp_path / "beside.py").write_text("def loud(text):\n    return str(text).upper()\n")
    (tmp_path / "m.py").write_text(ROWS)
    x = np.array([b"ab", "größer".encode()], object)
    outputs = load(tmp_path / "m.py").instance().run({"text": x})
    assert outputs["length"].tolist() == [20, 60]
    assert outputs["upper"].tolist() == [b"AB", "GRÖSSER".encode()]


def test_strings_keep_the_zeros_at_their_ends(tmp_path: Path) -> None:
    ports = '{"x": ("FP32", [None, 4])}', '{"y": ("BYTES", [None])}'
    path = models.python(tmp_path / "m.py", r"return {'y': [b'ab\0\0', b'\0']}", *ports)
    assert load(path).instance().run({"x": X})["y"].tolist() == [b"ab\0\0", b"\0"]
    path.write_text(f"{path.read_text()}\n    def postprocess(self, item): return item\n")
    assert load(path).instance().run({"x": X})["y"].tolist() == [b"ab\0\0", b"\0"]


@pytest.mark.parametrize(("said", "objects"), [("", 2), ("threadsafe = True", 1)])
def test_every_instance_has_its_object_unless_it_may_be_shared(
    said: str, objects: int, tmp_path: Path
) -> None:
    (tmp_path / "m.py").write_text(
        f"import numpy as np\nclass Model:\n {PORTS}\n {said}\n"
        " def infer(self, b): return {'y': np.full((2, 4), id(self) % 2**20, 'f4')}\n"
    )
    model = load(tmp_path / "m.py")
    lanes = [model.instance() for _ in range(2)]
    answers = {float(lane.run({"x": X})["y"][0, 0]) for lane in lanes}
    assert len(answers) == objects


def test_files_beside_it_are_imported_and_nothing_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "beside_the_model.py").write_text("TWICE = 2\n")
    body = "import beside_the_model as b; return {'y': batch['x'] * np.float32(b.TWICE)}"
    one = instance(tmp_path, body)
    np.testing.assert_array_equal(one.run({"x": X})["y"], X * 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["beside_the_model.py", "m.py"]
