"""TensorProto from and to tensors.

Source: tensorflow/core/framework/{tensor,types}.proto.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from headrace.errors import InvalidInput
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.codecs.tensors import check_strings, from_raw, read_shape
from headrace.receiver.codecs.wire import PACKED_FROM, delimited, packed, varints
from headrace.values import Array, DType

# tensorflow/core/framework/types.proto: number, name, our dtype, the typed field.
_TYPES: tuple[tuple[int, str, DType, str], ...] = (
    (1, "DT_FLOAT", DType.FP32, "float_val"),
    (2, "DT_DOUBLE", DType.FP64, "double_val"),
    (3, "DT_INT32", DType.INT32, "int_val"),
    (4, "DT_UINT8", DType.UINT8, "int_val"),
    (5, "DT_INT16", DType.INT16, "int_val"),
    (6, "DT_INT8", DType.INT8, "int_val"),
    (7, "DT_STRING", DType.BYTES, "string_val"),
    (9, "DT_INT64", DType.INT64, "int64_val"),
    (10, "DT_BOOL", DType.BOOL, "bool_val"),
    (14, "DT_BFLOAT16", DType.BF16, "half_val"),
    (17, "DT_UINT16", DType.UINT16, "int_val"),
    (19, "DT_HALF", DType.FP16, "half_val"),
    (22, "DT_UINT32", DType.UINT32, "uint32_val"),
    (23, "DT_UINT64", DType.UINT64, "uint64_val"),
)
_BY_NUMBER = {number: (dtype, field) for number, _, dtype, field in _TYPES}
_FIELDS = {dtype: field for _, _, dtype, field in _TYPES}
# In the wire format the packed elements of these fields are the tensor's own bytes.
_PACKED = {DType.FP32: 0x2A, DType.FP64: 0x32, DType.BOOL: 0x5A}
# From so many elements on that is faster than a list of Python's numbers.
_VARINTS_FROM = 1024
_HALVES = frozenset({DType.FP16, DType.BF16})

MOST_REPEATED_BYTES = 2**27
"""What may be made of values that were sent once; a request may not grow without end."""

NUMBERS = {dtype: number for number, _, dtype, _ in _TYPES}
"""TensorFlow's number of a dtype."""

NAMES = {dtype: name for _, name, dtype, _ in _TYPES}
"""TensorFlow's name of a dtype."""


def to_array(name: str, tensor: Any) -> Array:
    """Read a TensorProto: raw content, or typed values of which the last repeats.

    Without any value all elements are zero, false or empty, as TensorFlow has it.

    Raises:
        InvalidInput: its dtype, shape and values do not go together.
    """
    if tensor.dtype not in _BY_NUMBER:
        raise InvalidInput(f"input {name!r}: dtype {tensor.dtype} cannot be served")
    dtype, field = _BY_NUMBER[tensor.dtype]
    if tensor.tensor_shape.unknown_rank:
        raise InvalidInput(f"input {name!r} has no shape")
    shape = read_shape(name, [dim.size for dim in tensor.tensor_shape.dim])
    if tensor.tensor_content:
        if dtype is DType.BYTES:
            raise InvalidInput(f"input {name!r}: strings go into string_val, not tensor_content")
        return from_raw(name, dtype, shape, tensor.tensor_content)
    values = getattr(tensor, field)
    count = math.prod(shape)
    if dtype is DType.BYTES:
        check_strings(name, max(count, len(values)))
    if not values and count and not _has_values(tensor):
        values = [b"" if dtype is DType.BYTES else 0]
    if (not values and count) or len(values) > count:
        raise InvalidInput(
            f"input {name!r}: shape {list(shape)} has {count} elements, {field} {len(values)}"
        )
    if dtype in _PACKED and len(values) >= PACKED_FROM:
        array = packed(tensor, _PACKED[dtype], dtype)
    else:
        array = _typed(name, dtype, list(values))
    if len(values) < count:
        missing, last = count - len(values), array[-1:]
        check_repeated(name, last, missing, f"{len(values)} values for {count} elements")
        array = np.concatenate([array, np.repeat(last, missing)])
    return array.reshape(shape)


def _has_values(tensor: Any) -> bool:
    """Whether it has values in any field: those of another dtype's are a mistake, and no zeros."""
    return any(field.name.endswith("_val") for field, _ in tensor.ListFields())


def check_repeated(name: str, array: Array, times: int, what: str) -> None:
    """Check that an array may be repeated so often: a few bytes must not become gigabytes.

    Raises:
        InvalidInput: it may not.
    """
    size_bytes = array.nbytes + (sum(map(len, array.flat)) if array.dtype.hasobject else 0)
    if size_bytes * times > MOST_REPEATED_BYTES:
        raise InvalidInput(
            f"input {name!r}: {what}: values that are sent once may become {MOST_REPEATED_BYTES} "
            "bytes at most; send each of them, or less in a request"
        )


def _typed(name: str, dtype: DType, values: list[Any]) -> Array:
    if dtype is DType.BYTES:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    try:
        if dtype in _HALVES:
            return np.array(values, np.int64).astype(np.uint16).view(dtype.numpy)
        return np.array(values, dtype.numpy)
    except OverflowError as error:
        raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}") from error


def takes_long(array: Array) -> bool:
    """Whether an array is written element by element, and not as it lies in memory."""
    return DType.of(array.dtype) not in _PACKED


def write_tensor(array: Array) -> bytes:
    """Write an array as a TensorProto, in the typed field of its dtype.

    TensorFlow Serving answers so, and many clients read ``float_val`` and its like themselves.
    """
    dtype = DType.of(array.dtype)
    tensor = message("tensorflow.TensorProto")(dtype=NUMBERS[dtype])
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if dtype is DType.BYTES:
        tensor.string_val.extend(
            element.encode() if isinstance(element, str) else element for element in array.ravel()
        )
        return bytes(tensor.SerializeToString())
    bits = array.view(np.uint16) if dtype in _HALVES else array
    if dtype not in _PACKED and array.size < _VARINTS_FROM:
        getattr(tensor, _FIELDS[dtype]).extend(bits.ravel().tolist())
        return bytes(tensor.SerializeToString())
    head = bytes(tensor.SerializeToString())
    if not array.size:
        return head
    data = array.tobytes() if dtype in _PACKED else varints(bits)
    number: int = tensor.DESCRIPTOR.fields_by_name[_FIELDS[dtype]].number
    return head + delimited(number, data)
