from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import ModelLoadError
from headrace.order import Demand, Label, Load, Order, Reload, Unload
from headrace.receiver.model_files import ModelFiles

FILES = {"1/model.onnx": b"abc"}
LOAD = Load(name="m")


async def _load(files: ModelFiles, number: int) -> Path:
    async with files.held(number, LOAD, FILES) as folder:
        assert folder is not None
        assert (folder / "1/model.onnx").read_bytes() == b"abc"
    return folder


async def test_files_stay_until_the_next_load_of_their_model(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path)
    first = await _load(files, 1)
    assert first.exists()
    second = await _load(files, 2)
    assert second.exists()
    assert not first.exists()


async def test_files_of_an_order_that_failed_go_and_those_before_stay(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path)
    first = await _load(files, 1)
    with pytest.raises(ValueError, match="no"):
        async with files.held(2, LOAD, FILES) as folder:
            raise ValueError("no")
    assert folder is not None
    assert not folder.exists()
    assert first.exists()


async def test_of_files_that_cannot_be_written_nothing_stays(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path)
    unwritable = {"1/model.onnx": b"abc", f"1/{'m' * 300}": b"abc"}
    with pytest.raises(ModelLoadError, match="cannot be written: File name too long"):
        async with files.held(1, LOAD, unwritable):
            pass
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("order", [LOAD, Unload(name="m"), Reload(models=())])
async def test_files_go_when_nothing_needs_them(
    tmp_path: Path, order: Load | Unload | Reload
) -> None:
    files = ModelFiles(tmp_path)
    first = await _load(files, 1)
    async with files.held(2, order, {}) as folder:
        assert folder is None
    assert not first.exists()


@pytest.mark.parametrize("order", [Label(name="m", versions={}), Demand(name="m", version=1)])
async def test_files_stay_when_their_model_does(tmp_path: Path, order: Order) -> None:
    files = ModelFiles(tmp_path)
    first = await _load(files, 1)
    async with files.held(2, order, {}):
        pass
    assert first.exists()


async def test_files_of_another_model_stay(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path)
    first = await _load(files, 1)
    async with files.held(2, Unload(name="other"), {}):
        pass
    assert first.exists()
