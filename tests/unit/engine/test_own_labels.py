"""Class names that are in a file are taken where they are for one output, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from headrace.engine.own_labels import own_labels
from headrace.values import Dim, DType, Signature, TensorSpec
from tests.contract import models
from tests.unit.formats import lite

PETS = ("cat", "dog")
CONTENT = lite.metadata({"labels.txt": (2, "")})


def signature(*shapes: tuple[Dim, ...]) -> Signature:
    outputs = tuple(TensorSpec(f"y{n}", DType.FP32, shape) for n, shape in enumerate(shapes))
    return Signature((), outputs, batched=True)


SCORES = signature((None, 2))


def onnx_file(path: Path, names: str = "{0: 'cat', 1: 'dog'}") -> Path:
    model = onnx.load(models.product(path, np.ones((4, 2))))
    model.metadata_props.add(key="names", value=names)
    onnx.save(model, str(path))
    return path


def lite_file(path: Path, files: dict[str, bytes], content: bytes = CONTENT) -> Path:
    path.write_bytes(lite.with_files(lite.model(["a"], {}, content), files))
    return path


def test_an_onnx_file_names_its_classes(tmp_path: Path) -> None:
    assert own_labels(onnx_file(tmp_path / "m.onnx"), SCORES) == PETS


@pytest.mark.parametrize("text", [b"cat\r\ndog\n\n", b"\xef\xbb\xbfcat\ndog", b"cat\rdog\r"])
def test_a_tflite_file_has_a_text_behind_it(tmp_path: Path, text: bytes) -> None:
    path = lite_file(tmp_path / "m.tflite", {"labels.txt": text})
    assert own_labels(path, SCORES) == PETS


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_in_another_coding_names_none(tmp_path: Path, coding: str) -> None:
    path = lite_file(tmp_path / "m.tflite", {"labels.txt": "cat\ndog".encode(coding)})
    assert own_labels(path, SCORES) == ()


@pytest.mark.parametrize(
    "other",
    [
        signature((None, 3)),
        signature((None, None)),
        signature((2,)),
        signature((None, 2), (None, 2)),
        signature(),
    ],
)
def test_names_that_are_not_for_one_output_are_left(tmp_path: Path, other: Signature) -> None:
    assert own_labels(onnx_file(tmp_path / "m.onnx"), other) == ()


def test_of_several_outputs_the_one_of_so_many_classes_has_the_names(tmp_path: Path) -> None:
    both = signature((None, 512), (None, 2))
    assert own_labels(onnx_file(tmp_path / "m.onnx"), both) == PETS


@pytest.mark.parametrize(
    "files", [{}, {"other.txt": b"cat\ndog"}, {"labels.txt": b"cat\n" * 2**19}, {"labels.txt": b""}]
)
def test_a_text_that_is_not_there_or_too_long_names_none(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    assert own_labels(lite_file(tmp_path / "m.tflite", files), SCORES) == ()


@pytest.mark.parametrize("content", [b'{"name": "our own"}', CONTENT[:20], b""])
def test_metadata_of_another_kind_names_none(tmp_path: Path, content: bytes) -> None:
    path = lite_file(tmp_path / "m.tflite", {"labels.txt": b"cat\ndog"}, content)
    assert own_labels(path, SCORES) == ()


def test_an_onnx_file_with_damaged_metadata_names_none(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"\x0a\x05names", b"\x0b\x05names"))
    assert own_labels(path, SCORES) == ()


def test_what_cannot_be_read_names_none(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.tflite", "m.pt2"):
        assert own_labels(tmp_path / name, SCORES) == ()
        (tmp_path / name).write_bytes(b"")
        assert own_labels(tmp_path / name, SCORES) == ()
        (tmp_path / name).write_bytes(b"\x0b" * 100)
        assert own_labels(tmp_path / name, SCORES) == ()
    whole = lite_file(tmp_path / "m.tflite", {"labels.txt": b"cat\ndog" * 50}).read_bytes()
    for cut in range(1, 120, 7):
        (tmp_path / "m.tflite").write_bytes(whole[:-cut])
        assert own_labels(tmp_path / "m.tflite", SCORES) == ()
