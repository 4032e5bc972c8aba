"""Arithmetic in 16 bits of a program that was exported in 32: near, and of the same dtypes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engine.backends.contract import Instance
from tests.contract.test_formats import needs_torch

pytestmark = [needs_torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    double: Any = importlib.import_module("tests.unit.engine.torch_double")
    path: Path = double.write_block(tmp_path_factory.mktemp("half") / "model.pt2")
    return path


def _instance(path: Path, half: str | None = None) -> Instance:
    import torch  # noqa: PLC0415 - takes seconds

    from headrace.engine.backends import torch_, torch_program  # noqa: PLC0415 - the same

    dtype = None if half is None else getattr(torch, half)
    return torch_.TorchInstance(torch_program.read(path, torch.device("cpu"), dtype))


@pytest.mark.parametrize(("half", "tolerance"), [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_answers_are_near_and_of_the_same_dtypes(block: Path, half: str, tolerance: float) -> None:
    x = np.random.default_rng(0).random((3, 3, 6, 6), np.float32)
    exact = _instance(block).run({"x": x})
    found = _instance(block, half).run({"x": x})
    assert [array.dtype for array in found.values()] == [array.dtype for array in exact.values()]
    off = np.abs(found["y"] - exact["y"]).max() / np.abs(exact["y"]).max()
    assert 0 < off < tolerance
    np.testing.assert_allclose(found["p"].sum(1), 1, rtol=1e-5)


def test_what_is_multiplied_with_is_stored_in_16_bits_and_vectors_are_not(block: Path) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    from headrace.engine.backends.torch_half import narrowed  # noqa: PLC0415 - the same

    module: Any = torch.export.load(block).module()
    narrowed(module, torch.bfloat16, [torch.float32, torch.float32, torch.int64])
    kinds = {(one.dim() > 1, one.dtype) for one in module.parameters()}
    assert kinds == {(True, torch.bfloat16), (False, torch.float32)}


def _tables(folder: Path) -> Path:
    double: Any = importlib.import_module("tests.unit.engine.torch_double")
    path: Path = double.write_tables(folder / "tables.pt2")
    return path


def test_only_what_is_multiplied_with_is_rounded(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    from headrace.engine.backends.torch_half import narrowed  # noqa: PLC0415 - the same

    module: Any = torch.export.load(_tables(tmp_path)).module()
    narrowed(module, torch.bfloat16, [torch.float32, torch.float32])
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    rounded = {name for name, one in own.items() if one.dtype is torch.bfloat16}
    assert rounded == {"factor", "late", "kernel"}


def test_answers_are_those_of_autocast(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    path = _tables(tmp_path)
    x = np.random.default_rng(0).random((2, 4), np.float32)
    module: Any = torch.export.load(path).module()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        expected = module(torch.from_numpy(x))
    for name, found in _instance(path, "bfloat16").run({"x": x}).items():
        np.testing.assert_array_equal(found, expected[name].float().numpy())
