"""Reading PyTorch files, written here the way ``torch.save`` wrote them."""

from __future__ import annotations

import collections
import os
import pickle
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from zoo import torch_file
from zoo.errors import UnsafeFile

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
NUMBERS = np.arange(24, dtype=np.float32)


class FakeTensor:
    """Pickles as a tensor does: a call of torch's function on a storage named by a key."""

    def __init__(
        self,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        offset: int = 0,
        size: int = 24,
        kind: str = "FloatStorage",
    ) -> None:
        self.storage = FakeStorage(kind, size)
        self.arguments: tuple[Any, ...] = (offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self) -> Any:
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (self.storage, *self.arguments)


class FakeStorage:
    def __init__(self, kind: str, size: int) -> None:
        self.kind, self.size = kind, size


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, FakeStorage):
            return None
        return "storage", getattr(sys.modules["torch"], obj.kind), "17", "cpu", obj.size, None


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough of torch to be named in a pickle; ours never imports it."""

    def _rebuild_tensor_v2() -> None: ...

    main, utils = ModuleType("torch"), ModuleType("torch._utils")
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]  # a stub
    for kind in ("FloatStorage", "CharStorage"):
        setattr(main, kind, type(kind, (), {"__module__": "torch"}))
    monkeypatch.setitem(sys.modules, "torch", main)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def _write(
    path: Path, tensors: Mapping[str, Any], numbers: bytes = NUMBERS.tobytes(), count: int = 24
) -> Path:
    with path.open("wb") as file:
        for part in (MAGIC, PROTOCOL, {"little_endian": True}, tensors, ["17"]):
            Pickler(file, protocol=2).dump(part)
        file.write(struct.pack("<q", count) + numbers)
    return path


def test_tensors_come_by_name_in_their_shape(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "w.pth",
        {"a": FakeTensor((2, 3, 4), (12, 4, 1)), "b": FakeTensor((4,), (1,), offset=20)},
    )
    weights = torch_file.read(path)
    np.testing.assert_array_equal(weights["a"], NUMBERS.reshape(2, 3, 4))
    np.testing.assert_array_equal(weights["b"], NUMBERS[20:])


def test_a_tensor_stored_in_another_order_is_read_in_its_own(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.pth", {"a": FakeTensor((4, 6), (1, 4))})
    np.testing.assert_array_equal(torch_file.read(path)["a"], NUMBERS.reshape(6, 4).T)


def test_a_scalar_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.pth", {"a": FakeTensor((), (), offset=7)})
    assert torch_file.read(path)["a"] == 7


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_the_file_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.pth", {"a": Attack(tmp_path / "made by the pickle")})
    with pytest.raises(UnsafeFile, match=r"posix\.mkdir"):
        torch_file.read(path)
    assert not (tmp_path / "made by the pickle").exists()


@pytest.mark.parametrize(
    "tensor",
    [
        FakeTensor((5, 5), (5, 1)),
        FakeTensor((24,), (1,), offset=1),
        FakeTensor((4,), (1,), offset=-4),
        FakeTensor((4,), (-1,), offset=8),
        FakeTensor((2, 2), (1000, 1)),
    ],
    ids=["too large", "past the end", "before the start", "backwards", "far strides"],
)
def test_a_tensor_that_reaches_outside_of_its_storage_is_refused(
    tmp_path: Path, tensor: FakeTensor
) -> None:
    with pytest.raises(UnsafeFile, match="outside"):
        torch_file.read(_write(tmp_path / "w.pth", {"a": tensor}))


def test_a_storage_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.pth", {"a": FakeTensor((4,), (1,), kind="CharStorage")})
    with pytest.raises(UnsafeFile, match=r"torch\.CharStorage"):
        torch_file.read(path)


def test_a_storage_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    tensors = {"a": FakeTensor((4,), (1,))}
    with pytest.raises(UnsafeFile, match="storage 17"):
        torch_file.read(_write(tmp_path / "w.pth", tensors, NUMBERS.tobytes()[:-1]))
    with pytest.raises(UnsafeFile, match="storage 17"):
        torch_file.read(_write(tmp_path / "w.pth", tensors, count=23))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", pickle.dumps(17), b"\x80\x02"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(UnsafeFile, match="PyTorch weights file"):
        torch_file.read(path)
