"""Protobuf's wire format: what lies where in a message, without reading what it holds. Pure.

Source: protobuf.dev/programming-guides/encoding. Of a file of gigabytes only the heads of its
fields are touched.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from headrace.errors import ModelLoadError

Data = bytes | mmap.mmap
Tables = Mapping[str, Mapping[int, str]]
"""Of each kind of message, which of its fields are messages, and of what kind."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST_NUMBER = 10
# Protobuf's own limit: its libraries read no message that is nested deeper.
_DEEPEST = 100


class Field(NamedTuple):
    """One field: its number, and where its content lies; of a number, its value."""

    number: int
    kind: int
    start: int
    end: int
    value: int = 0


class Part(NamedTuple):
    """A message, of a kind that a table names."""

    kind: str
    start: int
    end: int


def whole(data: Data, kind: str) -> Part:
    """A file that is one message."""
    return Part(kind, 0, len(data))


def fields(data: Data, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """Walk the fields of a message.

    Raises:
        ModelLoadError: it is none, or is cut off.
    """
    at, end = start, len(data) if end is None else end
    while at < end:
        key, at = varint(data, at, end)
        kind, value = key & 7, 0
        if not key >> 3:
            raise _no_message()
        if kind == VARINT:
            value, after = varint(data, at, end)
        elif kind == BYTES:
            size, at = varint(data, at, end)
            after = at + size
        elif kind in _FIXED:
            after = at + _FIXED[kind]
        else:
            raise _no_message()
        if after > end:
            raise _cut_off(data, after, end)
        yield Field(key >> 3, kind, at, after, value)
        at = after


def varint(data: Data, at: int, end: int) -> tuple[int, int]:
    """Read a number; return it and where it ends.

    Raises:
        ModelLoadError: it has no end.
    """
    value = shift = 0
    for here in range(at, min(end, at + _LONGEST_NUMBER)):
        byte = data[here]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last of it
            return value, here + 1
        shift += 7
    if end - at < _LONGEST_NUMBER:
        raise _cut_off(data, end + 1, end)
    raise _no_message()


def parts(data: Data, tables: Tables, root: Part) -> Iterator[Part]:
    """Walk all messages in one that the tables lead to, each before what is in it.

    Raises:
        ModelLoadError: it is none, is cut off, or is nested deeper than any library reads.
    """
    # Generators, not lists: a file may hold a thousand million parts.
    open_parts = [_inner(data, tables, root)]
    while open_parts:
        part = next(open_parts[-1], None)
        if part is None:
            open_parts.pop()
            continue
        yield part
        if part.kind in tables:
            open_parts.append(_inner(data, tables, part))
        if len(open_parts) > _DEEPEST:
            raise ModelLoadError(f"is nested more than {_DEEPEST} deep")


def _inner(data: Data, tables: Tables, part: Part) -> Iterator[Part]:
    kinds = tables[part.kind]
    for field in fields(data, part.start, part.end):
        if field.kind == BYTES and field.number in kinds:
            yield Part(kinds[field.number], field.start, field.end)


def numbers(data: Data, field: Field) -> Iterator[int]:
    """The numbers of a repeated field: packed or one alone, as 64-bit integers with a sign."""
    if field.kind == VARINT:
        yield signed(field.value)
        return
    at = field.start
    while at < field.end:
        value, at = varint(data, at, field.end)
        yield signed(value)


def signed(value: int) -> int:
    """A varint as the 64-bit integer it stands for."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def text(data: Data, field: Field | Part) -> str:
    """A field's text.

    Raises:
        ModelLoadError: it is none.
    """
    try:
        return data[field.start : field.end].decode()
    except UnicodeDecodeError as error:
        shown = data[field.start : field.start + 40]
        raise ModelLoadError(f"has a name that is not UTF-8 text: {shown!r}") from error


def _no_message() -> ModelLoadError:
    return ModelLoadError("is damaged, or no such file at all: what is in it is no protobuf")


def _cut_off(data: Data, after: int, end: int) -> ModelLoadError:
    if end < len(data):
        return ModelLoadError("is damaged: a part of it is longer than what it is in")
    return ModelLoadError(
        f"is cut off: it has {len(data)} bytes and should have at least {after}; copy it again"
    )
