"""Which files an ONNX file has its weights in, and how often it is read for that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from headrace.formats import onnx_
from headrace.weights import weights_files
from tests.external import external


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, really = list[object](), onnx_.weights_files

    def counted(file: BinaryIO) -> frozenset[str] | None:
        reads.append(file)
        return really(file)

    monkeypatch.setattr(onnx_, "weights_files", counted)
    model = tmp_path / "m.onnx"
    for count, names in enumerate((("w",), ("other", "w")), 1):
        model.write_bytes(external(*names))
        assert weights_files(model) == weights_files(model) == frozenset(names)
        assert len(reads) == count


@pytest.mark.parametrize(
    ("name", "made", "said"),
    [
        ("empty.onnx", lambda: b"", frozenset()),
        ("m.xml", lambda: external("w"), frozenset()),
        ("m.onnx", lambda: external("w", "/etc/passwd"), None),
    ],
)
def test_who_names_none_and_who_cannot_be_told(
    tmp_path: Path, name: str, made: Callable[[], bytes], said: frozenset[str] | None
) -> None:
    (tmp_path / name).write_bytes(made())
    assert weights_files(tmp_path / name) == said


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        weights_files(tmp_path / "m.onnx")


def test_a_file_that_is_cut_off_as_it_is_read_is_said_to_change_and_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, model = onnx_.weights_files, tmp_path / "m.onnx"
    model.write_bytes(external("w") + bytes(2**23))

    def cut_off(file: BinaryIO) -> frozenset[str] | None:
        os.truncate(model, 0)  # as `cp` over it begins
        return really(file)

    with monkeypatch.context() as patch:
        patch.setattr(onnx_, "weights_files", cut_off)
        with pytest.raises(OSError, match="is written to as it is read"):
            weights_files(model)
    model.write_bytes(external("w"))
    assert weights_files(model) == frozenset({"w"})
