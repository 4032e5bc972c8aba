"""Protobuf's wire format, where its own classes would make an object of every number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from headrace.errors import MalformedRequest
from headrace.formats import wire
from headrace.formats.wire import varint
from headrace.values import Array, DType

__all__ = ["PACKED_FROM", "RAW_INPUT_TAG", "delimited", "fields", "packed", "varint", "varints"]

RAW_INPUT_TAG = 0x3A
"""Field 7 of ModelInferRequest, length-delimited."""

PACKED_FROM = 256
"""From so many elements on ``packed`` is faster than a list of Python's numbers."""

_LENGTH_DELIMITED = 2
_VARINT_BITS = 7
_MORE = 1 << _VARINT_BITS
# So many elements at a time stay in a core's cache.
_WINDOW = 2**14


def fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Walk the top-level fields: tag, start, start of the data, end.

    Raises:
        MalformedRequest: the bytes are no message.
    """
    try:
        yield from wire.fields(view)
    except ValueError as error:
        raise MalformedRequest(f"the message is no ModelInferRequest: {error}") from error


def packed(proto: Any, tag: int, dtype: DType) -> Array:
    """View the elements of a packed field of fixed size, which protobuf gives only one by one.

    ``proto`` is the message and ``tag`` the field's, which is filled; unknown fields of the message
    are dropped.
    """
    proto.DiscardUnknownFields()  # there may be any number, to be walked over
    written = memoryview(proto.SerializeToString())
    data, end = next((data, end) for found, _, data, end in fields(written) if found == tag)
    return np.frombuffer(written[data:end], dtype.numpy)


def delimited(number: int, data: bytes) -> bytes:
    """Write a field of bytes, text, a message or packed numbers."""
    return b"".join((varint(number << 3 | _LENGTH_DELIMITED), varint(len(data)), data))


def varints(array: Array) -> bytes:
    """Write integers as the elements of a packed field, row-major; negative ones take ten bytes."""
    flat = array.ravel()
    bits = flat if flat.dtype == np.uint64 else flat.astype(np.int64).view(np.uint64)
    return b"".join(_varints(bits[at : at + _WINDOW]) for at in range(0, len(bits), _WINDOW))


def _varints(bits: Array) -> bytes:
    """Write unsigned integers of 64 bits."""
    longest = max(1, -(-int(bits.max()).bit_length() // _VARINT_BITS))
    found = np.empty((len(bits), longest), np.uint8)
    kept = np.ones(found.shape, bool)
    left = bits
    for place in range(longest):
        found[:, place] = (left & np.uint64(_MORE - 1)).astype(np.uint8)
        left = left >> np.uint64(_VARINT_BITS)
        if place + 1 < longest:
            kept[:, place + 1] = left != 0
            found[:, place] |= np.where(kept[:, place + 1], np.uint8(_MORE), np.uint8(0))
    return found[kept].tobytes()
