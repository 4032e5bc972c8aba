"""Protobuf's wire format, as little of it as walks over the fields of a message.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, LENGTH_DELIMITED = 0, 2
"""Two of the kinds of fields."""

_FIXED_BYTES = {1: 8, 5: 4}


def fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Walk the top-level fields: tag, start, start of the data, end.

    Raises:
        ValueError: the bytes are no message.
    """
    at, size = 0, len(view)
    while at < size:
        start = at
        tag, at = read_varint(view, at)
        kind = tag & 7
        if kind == VARINT:
            _, end = read_varint(view, at)
        elif kind == LENGTH_DELIMITED:
            length, at = read_varint(view, at)
            end = at + length
        elif kind in _FIXED_BYTES:
            end = at + _FIXED_BYTES[kind]
        else:
            raise ValueError("unknown wire type")
        if end > size:
            raise ValueError("the message is cut off")
        yield tag, start, at, end
        at = end


def tag_of(number: int) -> int:
    """The tag of a length-delimited field: text, bytes, a message."""
    return number << 3 | LENGTH_DELIMITED


def inside(view: memoryview, number: int) -> Iterator[memoryview]:
    """The data of every length-delimited field of that number.

    Raises:
        ValueError: the bytes are no message.
    """
    tag = tag_of(number)
    return (view[at:end] for found, _, at, end in fields(view) if found == tag)


def read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """Read a number; return it and where it ends.

    Raises:
        ValueError: it has no end.
    """
    value = shift = 0
    while at < len(view) and shift < 70:  # noqa: PLR2004 - ten bytes of seven bits
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, at
        shift += 7
    raise ValueError("the message is cut off in a number")


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
