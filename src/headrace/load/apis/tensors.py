"""The elements of a tensor, as bytes and as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from headrace.values import Array, DType


def datatype(array: Array) -> str:
    """Name an array's type as the Open Inference Protocol does."""
    return str(DType.of(array.dtype).value)


def to_raw(array: Array) -> bytes:
    """Write a tensor's elements as both binary protocols do; strings each with its length."""
    if DType.of(array.dtype) is not DType.BYTES:
        return np.ascontiguousarray(array).tobytes()
    strings = [octets(one) for one in array.reshape(-1)]
    return b"".join(len(one).to_bytes(4, "little") + one for one in strings)


def from_raw(dtype: DType, data: bytes) -> Array:
    """Read a flat tensor."""
    if dtype is not DType.BYTES:
        return np.frombuffer(data, dtype.numpy)
    return strings(list(_strings(data)))


def strings(values: list[Any]) -> Array:
    """Make a flat array of strings."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def octets(value: Any) -> bytes:
    """Return a string's bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


def to_json(array: Array) -> Any:
    """Write a tensor as nested lists; strings as TensorFlow Serving does, in base64.

    Raises:
        ValueError: a number in it is none in JSON.
    """
    if DType.of(array.dtype) is not DType.BYTES:
        if array.dtype.kind not in "biu" and not np.isfinite(array).all():
            raise ValueError("JSON has no NaN and no infinity: use a protocol with binary tensors")
        return array.tolist()
    coded = [{"b64": base64.b64encode(octets(one)).decode()} for one in array.reshape(-1)]
    return strings(coded).reshape(array.shape).tolist()


def from_json(values: Any, dtype: DType) -> Array:
    """Read a tensor of a known type."""
    if dtype is DType.BYTES:
        return np.array([octets(one) for one in values], object)
    return np.array(values, dtype.numpy)


def loads(body: bytes) -> Any:
    """Read JSON, with the NaN and Infinity that TensorFlow Serving writes."""
    try:
        return orjson.loads(body)
    except ValueError:
        return json.loads(body)


def _strings(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        yield data[start:at]
