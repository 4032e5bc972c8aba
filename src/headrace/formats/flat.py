"""FlatBuffers, as little of it as reads the tables of a schema that is known.

Source: flatbuffers.dev/internals. Nothing is trusted: what points outside of the bytes is a
``ValueError``, and what is read is never more than the bytes themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Self

# Names in models are short, and a list of some thousands: a few bytes could ask for far more.
_MOST_TEXT_BYTES = 2**12
_MOST_TABLES = 2**17
_U16, _U32, _I32 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<i")


class _Left:
    """What may still be read of a file: lists may lead to one table, or text, again and again."""

    __slots__ = ("tables", "text_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.tables = size_bytes // 4  # what leads to one takes as much
        self.text_bytes = size_bytes

    def take(self, *, tables: int = 0, text_bytes: int = 0) -> None:
        """Count what is read.

        Raises:
            ValueError: all of it together is more than the file has.
        """
        self.tables -= tables
        self.text_bytes -= text_bytes
        if self.tables < 0 or self.text_bytes < 0:
            raise ValueError("it leads to the same place again and again")


class Table:
    """A table at a place in the bytes; fields are asked for by their number in the schema."""

    __slots__ = ("_at", "_data", "_left")

    def __init__(self, data: memoryview, at: int, left: _Left) -> None:
        self._data = data
        self._at = at
        self._left = left

    @classmethod
    def root(cls, data: memoryview, identifier: bytes) -> Self:
        """The first table of a file of that kind.

        Raises:
            ValueError: it is no such file.
        """
        if bytes(data[4:8]) != identifier:
            raise ValueError(f"it does not begin as {identifier.decode()} files do")
        return cls(data, _read(_U32, data, 0), _Left(len(data)))

    def number(self, field: int, kind: struct.Struct = _I32, default: int = 0) -> int:
        """A number; those that are the default are not written."""
        at = self._place(field)
        return default if at is None else _read(kind, self._data, at)

    def text(self, field: int) -> str:
        """A text; an empty one where there is none."""
        data = self.data(field)
        if len(data) > _MOST_TEXT_BYTES:
            raise ValueError("a text in it is too long to be a name")
        self._left.take(text_bytes=len(data))
        return bytes(data).decode("utf-8", "replace")

    def data(self, field: int) -> memoryview:
        """A vector of bytes."""
        start, count = self._vector(field, 1)
        return self._data[start : start + count]

    def tables(self, field: int) -> Iterator[Table]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        if count > _MOST_TABLES:
            raise ValueError("a list in it is longer than any model's")
        for at in range(start, start + 4 * count, 4):
            self._left.take(tables=1)
            yield Table(self._data, at + _read(_U32, self._data, at), self._left)

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Where its first item is, and how many there are."""
        place = self._place(field)
        if place is None:
            return 0, 0
        at = place + _read(_U32, self._data, place)
        count = _read(_U32, self._data, at)
        if at + 4 + count * item_bytes > len(self._data):
            raise ValueError("a list in it is cut off")
        return at + 4, count

    def _place(self, field: int) -> int | None:
        """Where a field is; None when it is not there."""
        layout = self._at - _read(_I32, self._data, self._at)
        slot = 4 + 2 * field
        if slot >= _read(_U16, self._data, layout):
            return None
        offset = _read(_U16, self._data, layout + slot)
        return self._at + offset if offset else None


def _read(kind: struct.Struct, data: memoryview, at: int) -> int:
    if not 0 <= at <= len(data) - kind.size:
        raise ValueError("it points outside of itself, or is cut off")
    number: int = kind.unpack_from(data, at)[0]
    return number
