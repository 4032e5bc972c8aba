"""Samples: a few requests of a model with its answers, in a file that the next version reads.

The file: the length of a record, little-endian; the record, JSON; then the tensors, one after the
other. No pickle; nobody else may read it, for what is in it came from clients.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from headrace.engine.slots import pack_bytes, unpack_bytes
from headrace.values import Array, DType

_LENGTH = struct.Struct("<Q")


class Sample(NamedTuple):
    """One request: what the model was given and what it gave."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @property
    def size_bytes(self) -> int:
        """About what it needs in memory."""
        return sum(map(_size_bytes, (*self.inputs.values(), *self.outputs.values())))


class _Tensor(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class _Record(BaseModel):
    """The samples, each as its inputs and its outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    samples: tuple[tuple[dict[str, _Tensor], dict[str, _Tensor]], ...]


def write(path: Path, version: int, samples: Sequence[Sample]) -> None:
    """Write samples of a version to a file that must not be there yet.

    Raises:
        OSError: it cannot be written.
    """
    parts: list[bytes] = []
    end = 0

    def place(tensors: Mapping[str, Array]) -> dict[str, _Tensor]:
        nonlocal end
        placed = {}
        for name, array in tensors.items():
            data = _packed(array)
            placed[name] = _Tensor(
                dtype=DType.of(array.dtype), shape=array.shape, offset=end, size_bytes=len(data)
            )
            parts.append(data)
            end += len(data)
        return placed

    placed = tuple((place(sample.inputs), place(sample.outputs)) for sample in samples)
    record = _Record(version=version, samples=placed).model_dump_json().encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines([_LENGTH.pack(len(record)), record, *parts])


def read(path: Path) -> tuple[int, list[Sample]]:
    """Read the version and its samples.

    Raises:
        OSError: there is no such file.
        ValueError: it is not what ``write`` has written.
    """
    data = path.read_bytes()
    if len(data) < _LENGTH.size:
        raise ValueError(f"{path} is cut off")
    (size,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + size
    record = _Record.model_validate_json(data[_LENGTH.size : start])
    body = data[start:]

    def tensors(placed: Mapping[str, _Tensor]) -> dict[str, Array]:
        return {name: _unpacked(body, one) for name, one in placed.items()}

    return record.version, [Sample(tensors(a), tensors(b)) for a, b in record.samples]


def _packed(array: Array) -> bytes:
    return pack_bytes(array) if array.dtype.hasobject else array.tobytes()


def _unpacked(body: bytes, tensor: _Tensor) -> Array:
    data = body[tensor.offset : tensor.offset + tensor.size_bytes]
    if tensor.dtype is DType.BYTES:
        return unpack_bytes(data, tensor.shape)
    flat = np.frombuffer(data, tensor.dtype.numpy, math.prod(tensor.shape))
    return flat.reshape(tensor.shape).copy()  # some libraries want to be able to write


def _size_bytes(array: Array) -> int:
    return sum(map(len, array.ravel())) if array.dtype.hasobject else array.nbytes
