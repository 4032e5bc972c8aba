"""Tensors from and to raw bytes, as both protocols carry them; shared by all fronts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headrace.engine.slots import pack_bytes, unpack_bytes
from headrace.errors import InvalidInput, MalformedRequest
from headrace.values import Array, DType

_MOST_ELEMENTS = 2**40  # far over any body; keeps products of hostile dimensions small
_MOST_RANK = 32  # numpy's on old versions; nobody has more


def read_shape(name: str, shape: Sequence[object]) -> tuple[int, ...]:
    """Check a shape a client sent.

    Raises:
        InvalidInput: a dimension is not a whole number ≥ 0, or there are far too many elements.
    """
    dims: list[int] = []
    for dim in shape:
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 0:
            raise InvalidInput(f"input {name!r}: shape {list(shape)} has a dimension {dim!r}")
        dims.append(dim)
    if len(dims) > _MOST_RANK or math.prod(dims) > _MOST_ELEMENTS:
        raise InvalidInput(f"input {name!r}: shape {dims} is too large")
    return tuple(dims)


def read_dtype(name: str, datatype: str) -> DType:
    """Read a datatype name.

    Raises:
        InvalidInput: there is no such datatype.
    """
    try:
        return DType(datatype)
    except ValueError:
        known = ", ".join(dtype.value for dtype in DType)
        raise InvalidInput(
            f"input {name!r}: unknown datatype {datatype!r}; one of {known}"
        ) from None


def from_raw(name: str, dtype: DType, shape: tuple[int, ...], data: bytes | memoryview) -> Array:
    """View raw little-endian bytes as a tensor.

    Raises:
        InvalidInput: the size does not fit the shape.
    """
    if dtype is DType.BYTES:
        if math.prod(shape) * 4 > len(data):
            raise InvalidInput(
                f"input {name!r}: {len(data)} bytes cannot hold {math.prod(shape)} BYTES elements"
            )
        try:
            return unpack_bytes(data, shape)
        except MalformedRequest as error:
            raise InvalidInput(f"input {name!r}: {error.message}") from error
    expected = math.prod(shape) * dtype.numpy.itemsize
    if expected != len(data):
        raise InvalidInput(
            f"input {name!r}: shape {list(shape)} of {dtype.value} is {expected} bytes, got {len(data)}"
        )
    array = np.frombuffer(data, np.uint8 if dtype is DType.BOOL else dtype.numpy)
    if dtype is DType.BOOL:
        array = array.astype(np.bool_)  # other than 0 and 1 must not reach a backend
    return array.reshape(shape)


def to_raw(array: Array) -> bytes:
    """Write a tensor as raw little-endian bytes."""
    return pack_bytes(array) if array.dtype.kind in "OSU" else array.tobytes()
