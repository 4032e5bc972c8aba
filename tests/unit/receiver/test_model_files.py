from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import ModelLoadError
from headrace.receiver.model_files import ModelFiles

FILES = {"1/model.onnx": b"abc"}


async def test_files_stay_once_their_order_has_been_passed_on(tmp_path: Path) -> None:
    async with ModelFiles(tmp_path).written(1, FILES) as folder:
        pass
    assert folder is not None
    assert (folder / "1/model.onnx").read_bytes() == b"abc"


async def test_files_of_an_order_that_cannot_be_passed_on_go(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path)
    with pytest.raises(ValueError, match="no"):
        async with files.written(2, FILES) as folder:
            raise ValueError("no")
    assert folder is not None
    assert not folder.exists()


async def test_of_files_that_cannot_be_written_nothing_stays(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path)
    unwritable = {"1/model.onnx": b"abc", f"1/{'m' * 300}": b"abc"}
    with pytest.raises(ModelLoadError, match="cannot be written: File name too long"):
        async with files.written(1, unwritable):
            pass
    assert not (tmp_path / "1").exists()


async def test_without_files_there_is_no_folder(tmp_path: Path) -> None:
    async with ModelFiles(tmp_path).written(1, {}) as folder:
        assert folder is None
    assert not [*tmp_path.iterdir()]  # noqa: ASYNC240 - a test may wait for its disk
