"""Protobuf's wire format in requests: what finds the raw tensors of a ModelInferRequest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from headrace.errors import MalformedRequest
from headrace.formats import wire
from headrace.formats.wire import varint
from headrace.values import Array, DType

__all__ = ["PACKED_FROM", "RAW_INPUT_TAG", "fields", "packed", "varint"]

RAW_INPUT_TAG = 0x3A
"""Field 7 of ModelInferRequest, length-delimited."""

PACKED_FROM = 256
"""From so many elements on ``packed`` is faster than a list of Python's numbers."""


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
