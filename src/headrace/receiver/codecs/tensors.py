"""Tensors from and to raw bytes, as both protocols carry them; shared by all fronts."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from headrace.engine.slots import pack_bytes, unpack_bytes
from headrace.errors import InvalidInput, MalformedRequest
from headrace.values import Array, DType

_MOST_ELEMENTS = 2**40  # far over any body; keeps products of hostile dimensions small
_MOST_RANK = 32  # numpy's on old versions; nobody has more


MOST_STRINGS = 2**18
"""Of one request: each is an object of Python's, and those of others wait while they are made."""

_DTYPES: dict[str, DType] = {dtype.value: dtype for dtype in DType}


def read_shape(name: str, shape: Iterable[Any]) -> tuple[int, ...]:
    """Check a shape a client sent.

    Raises:
        InvalidInput: a dimension is not a whole number ≥ 0, or there are far too many elements.
    """
    dims = list(shape)
    for dim in dims:
        if type(dim) is not int or dim < 0:
            raise InvalidInput(
                f"input {name!r}: shape {reprlib.repr(dims)} has a dimension {reprlib.repr(dim)}"
            )
    # Without the zeros: numpy, too, refuses a shape of nothing when the rest of it is too large.
    if len(dims) > _MOST_RANK or math.prod(filter(None, dims)) > _MOST_ELEMENTS:
        raise InvalidInput(f"input {name!r}: shape {reprlib.repr(dims)} is too large")
    return tuple(dims)


def check_strings(name: str, count: int) -> None:
    """Check that a request may have so many, up to those of this input.

    Raises:
        InvalidInput: it may not.
    """
    if count > MOST_STRINGS:
        raise InvalidInput(
            f"input {name!r}: {count:,} strings in a request, which may have {MOST_STRINGS:,}: "
            "send several requests"
        )


def read_dtype(name: str, datatype: str) -> DType:
    """Read a datatype name.

    Raises:
        InvalidInput: there is no such datatype.
    """
    try:
        return _DTYPES[datatype]
    except (KeyError, TypeError):
        known = ", ".join(dtype.value for dtype in DType)
        raise InvalidInput(
            f"input {name!r}: unknown datatype {reprlib.repr(datatype)}; one of {known}"
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
            f"input {name!r}: shape {list(shape)} of {dtype.value} is {expected} bytes, got "
            f"{len(data)}"
        )
    if dtype is DType.BOOL:  # other than 0 and 1 must not reach a backend
        return np.frombuffer(data, np.uint8).astype(np.bool_).reshape(shape)
    return np.frombuffer(data, dtype.numpy).reshape(shape)


def to_raw(array: Array) -> bytes:
    """Write a tensor as raw little-endian bytes."""
    return pack_bytes(array) if array.dtype.kind in "OSU" else array.tobytes()
