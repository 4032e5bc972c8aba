"""Tensors in gRPC's typed contents, a field for each kind of number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from headrace.errors import InvalidInput
from headrace.receiver.codecs.tensors import check_strings
from headrace.receiver.codecs.wire import PACKED_FROM, packed
from headrace.values import Array, DType

_CONTENTS: dict[DType, str] = {
    DType.BOOL: "bool_contents",
    DType.INT8: "int_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.UINT8: "uint_contents",
    DType.UINT16: "uint_contents",
    DType.UINT32: "uint_contents",
    DType.UINT64: "uint64_contents",
    DType.FP32: "fp32_contents",
    DType.FP64: "fp64_contents",
    DType.BYTES: "bytes_contents",
}
# In the wire format their elements are the tensor's own bytes: the tags of fields 1, 6 and 7.
_PACKED = {DType.BOOL: 0x0A, DType.FP32: 0x32, DType.FP64: 0x3A}
_ALL_CONTENTS = tuple(dict.fromkeys(_CONTENTS.values()))


def from_typed(name: str, dtype: DType, shape: tuple[int, ...], contents: Any) -> Array:
    """Read an ``InferTensorContents`` as a tensor.

    Raises:
        InvalidInput: the numbers are in another dtype's field, do not fit it, or fit no such shape.
    """
    field = _CONTENTS.get(dtype)
    if field is None:
        raise InvalidInput(f"input {name!r}: {dtype.value} has no typed contents, send it raw")
    others = [f for f in _ALL_CONTENTS if f != field and len(getattr(contents, f))]
    if others:
        raise InvalidInput(f"input {name!r} is {dtype.value}: fill {field}, not {others[0]}")
    values = getattr(contents, field)
    if dtype is DType.BYTES:
        check_strings(name, len(values))
        array = np.empty(len(values), object)
        array[:] = list(values)
    elif dtype in _PACKED and len(values) >= PACKED_FROM:
        array = packed(contents, _PACKED[dtype], dtype)
    else:
        # Numbers on both sides of 2**63 would become fractions.
        wide = np.asarray(values, np.uint64 if dtype is DType.UINT64 else None)
        array = wide.astype(dtype.numpy)
        if dtype.numpy.kind in "iu" and not np.array_equal(array, wide):
            raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}")
    if array.size != math.prod(shape):
        raise InvalidInput(
            f"input {name!r}: shape {list(shape)} and {array.size} elements in {field} do not agree"
        )
    return array.reshape(shape)
