"""Protobuf's wire format, as little of it as finds the raw tensors of a ModelInferRequest.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

from headrace.errors import MalformedRequest

RAW_INPUT_TAG = 0x3A
"""Field 7 of ModelInferRequest, length-delimited."""


def fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Walk the top-level fields: tag, start, start of the data, end.

    Raises:
        MalformedRequest: the bytes are no message.
    """
    at, size = 0, len(view)
    while at < size:
        start = at
        tag, at = read_varint(view, at)
        kind = tag & 7
        if kind == 0:
            _, end = read_varint(view, at)
        elif kind == 2:  # noqa: PLR2004 - length-delimited
            length, at = read_varint(view, at)
            end = at + length
        elif kind in {1, 5}:
            end = at + (8 if kind == 1 else 4)
        else:
            raise MalformedRequest("the message is no ModelInferRequest: unknown wire type")
        if end > size:
            raise MalformedRequest("the message is cut off")
        yield tag, start, at, end
        at = end


def read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """Read a number; return it and where it ends.

    Raises:
        MalformedRequest: it has no end.
    """
    value = shift = 0
    while at < len(view) and shift < 70:  # noqa: PLR2004 - ten bytes of seven bits
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, at
        shift += 7
    raise MalformedRequest("the message is cut off in a number")


def varint(value: int) -> bytes:
    """Write a number."""
    if value < 0x80:  # noqa: PLR2004
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:  # noqa: PLR2004
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
