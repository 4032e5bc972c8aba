"""The digest tells models apart, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from headrace.errors import ModelLoadError
from headrace.tuned import digest
from tests.external import external

LEFT = ("m.log", "m.npz", "m.csv", "m.prof", "m.tmp", "m.data")
"""What runs of a model and of other programs leave beside it."""


def test_of_one_file_it_is_the_file_s_own(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"weights")
    assert digest(model) == f"sha256:{hashlib.sha256(b'weights').hexdigest()}"


def test_weights_beside_the_file_count_and_words_do_not(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(external("m.onnx.data"))
    alone = digest(model)
    for name in ("m.tuned.yaml", "m.tflite", "m.html", "n.onnx.data", "card.yaml", *LEFT):
        (tmp_path / name).write_bytes(b"x")
    assert digest(model) == alone
    (tmp_path / "m.onnx.data").write_bytes(b"weights")
    assert digest(model) != alone


def test_of_ir_its_weights_count_and_nothing_else_that_is_called_so(tmp_path: Path) -> None:
    model, weights = tmp_path / "m.xml", tmp_path / "m.bin"
    model.write_bytes(b"graph")
    weights.write_bytes(b"weights")
    before = digest(model)
    for name in ("m.onnx", "n.bin", *LEFT):
        (tmp_path / name).write_bytes(b"x")
    assert digest(model) == before
    weights.write_bytes(b"others")
    assert digest(model) != before


@pytest.mark.parametrize("name", ["m.tflite", "m.pt2", "m.pt", "m.fake"])
def test_what_is_one_file_has_no_others(name: str, tmp_path: Path) -> None:
    model = tmp_path / name
    model.write_bytes(b"x")
    before = digest(model)
    for left in (*LEFT, "m.bin", "m.onnx.data"):
        (tmp_path / left).write_bytes(b"x")
    assert digest(model) == before


def test_models_in_a_folder_with_a_number_for_its_name_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    a, b = folder / "a.onnx", folder / "b.onnx"
    a.write_bytes(b"a")
    b.write_bytes(b"b")
    before = digest(a)
    b.write_bytes(b"other")
    assert digest(a) == before != digest(b)


def test_of_a_version_every_file_counts_but_words_and_hidden_ones(tmp_path: Path) -> None:
    version = tmp_path / "3"
    (version / "parts").mkdir(parents=True)
    model = version / "model.xml"
    for name in ("model.xml", "model.bin", "parts/more.bin"):
        (version / name).write_bytes(name.encode())
    before = digest(model)
    for name in ("tuned.yaml", "card.yaml", "labels.txt", ".hidden", "model.log", "m.npz"):
        (version / name).write_bytes(b"x")
    assert digest(model) == before
    (version / "parts" / "more.bin").write_bytes(b"other")
    assert digest(model) != before


def test_of_user_code_everything_beside_it_counts(tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    model = version / "model.py"
    model.write_text("class Model: ...")
    before = digest(model)
    (version / "tuned.yaml").write_text("x: 1")
    assert digest(model) == before
    (version / "words.txt").write_text("a")
    assert digest(model) != before


def test_a_file_that_has_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"gone\.onnx: cannot be read"):
        digest(tmp_path / "gone.onnx")


def test_weights_that_an_onnx_file_names_count_whatever_they_are_called(tmp_path: Path) -> None:
    model, weights = tmp_path / "m.onnx", tmp_path / "all.bin"
    weights.write_bytes(b"weights")
    model.write_bytes(b"..\x0a\x08location\x12\x07all.bin..")
    before = digest(model)
    (tmp_path / "other.bin").write_bytes(b"x")
    assert digest(model) == before
    weights.write_bytes(b"others")
    assert digest(model) != before


def test_an_empty_file_has_a_digest(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.touch()
    assert digest(model) == f"sha256:{hashlib.sha256(b'').hexdigest()}"
