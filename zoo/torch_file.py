"""Tensors out of a PyTorch weights file, without PyTorch.

The file is of the kind that ``torch.save`` wrote before version 1.6: a pickle of the tensors'
shapes, the names of their storages, then the storages as raw numbers. Unpickling can run any code,
so here it can name five things and nothing else.
"""

from __future__ import annotations

import collections
import math
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from zoo.errors import UnsafeFile

Weights = dict[str, npt.NDArray[Any]]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the tensor as a view of its storage, refusing one that reaches outside."""
        spans = [(size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)]
        inside = min((self.offset, *self.shape, *self.strides)) >= 0
        if not inside or self.offset + sum(spans) >= numbers.size or math.prod(self.shape) < 1:
            raise UnsafeFile(f"a tensor of shape {self.shape} reaches outside of its storage")
        return np.lib.stride_tricks.as_strided(
            numbers[self.offset :],
            self.shape,
            [step * numbers.itemsize for step in self.strides],
            writeable=False,
        )


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "HalfStorage"): np.dtype("<f2"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that can make tensors and dictionaries of them."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the table, and nowhere else."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UnsafeFile(f"the weights file asks for {module}.{name}; refused") from None

    def persistent_load(self, pid: Any) -> _Storage:
        """Note a storage; its numbers come later in the file."""
        kind, dtype, key, _, size, view = pid
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise UnsafeFile(f"the weights file has a storage of an unknown kind: {pid!r}")
        return _Storage(str(key), dtype, int(size))


def read(path: Path) -> Weights:
    """Read every tensor by its name.

    Raises:
        UnsafeFile: it asks for anything but tensors, or is not such a file.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except (pickle.UnpicklingError, EOFError, struct.error, ValueError, TypeError) as error:
            raise UnsafeFile(f"{path.name} is not a PyTorch weights file: {error}") from error


def _read(file: BinaryIO) -> Weights:
    if _load(file) != _MAGIC or _load(file) != _PROTOCOL:
        raise UnsafeFile("not a PyTorch weights file of the kind read here")
    _load(file)  # the sizes of C types on the machine that wrote it
    tensors: dict[str, _Tensor] = _load(file)
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    numbers = {key: _numbers(file, storages[key]) for key in _load(file)}
    return {name: tensor.view(numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _load(file: BinaryIO) -> Any:
    return _Unpickler(file).load()


def _numbers(file: BinaryIO, storage: _Storage) -> npt.NDArray[Any]:
    (size,) = struct.unpack("<q", file.read(8))
    data = file.read(size * storage.dtype.itemsize)
    if size != storage.size or len(data) != size * storage.dtype.itemsize:
        raise UnsafeFile(f"storage {storage.key} has {size} numbers, not {storage.size}")
    return np.frombuffer(data, storage.dtype)
