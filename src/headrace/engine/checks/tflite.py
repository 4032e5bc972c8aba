"""TFLite files: a flatbuffer whose tables and weights lie within the file. Pure.

Only what leads to the weights is followed (``schema.fbs`` numbers the fields); the library checks
the rest of the tables itself.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from headrace.errors import ModelLoadError

_Data = bytes | mmap.mmap
_MAGIC = b"TFL3"
_OPERATORS, _GRAPHS, _BUFFERS = 1, 2, 4  # fields of a Model
_CONTENT, _OFFSET, _SIZE = 0, 1, 2  # fields of a Buffer
# Smaller offsets mean that there is none.
_FIRST_OFFSET = 1


def look(data: _Data, path: Path) -> int:  # noqa: ARG001 - as for the other formats
    """Check a TFLite file; return how many bytes of weights it declares.

    Raises:
        ModelLoadError: it cannot be served as it is.
    """
    if data[4:8] != _MAGIC:
        raise ModelLoadError("is not TFLite, or damaged: its bytes 4 to 8 are not TFL3")
    model = _number(data, 0)
    for field in (_OPERATORS, _GRAPHS, _BUFFERS):
        if _field(data, model, field) is None:
            raise ModelLoadError("has no operators, no graph or no buffers: it is damaged")
    return sum(_buffer_bytes(data, buffer) for buffer in _vector(data, model, _BUFFERS))


def _buffer_bytes(data: _Data, buffer: int) -> int:
    """The size of a buffer; of one larger than a flatbuffer can be, its content is elsewhere."""
    content = _field(data, buffer, _CONTENT)
    if content is not None:
        start = content + _number(data, content)
        return _check_within(data, start + 4, _number(data, start))
    offset = _field(data, buffer, _OFFSET)
    size = _field(data, buffer, _SIZE)
    if offset is None or size is None or _long(data, offset) <= _FIRST_OFFSET:
        return 0
    return _check_within(data, _long(data, offset), _long(data, size))


def _vector(data: _Data, table: int, field: int) -> list[int]:
    """Where the tables of a field lie."""
    at = _field(data, table, field)
    if at is None:
        return []
    start = at + _number(data, at)
    count = _number(data, start)
    _check_within(data, start + 4, 4 * count)
    places = range(start + 4, start + 4 + 4 * count, 4)
    return [place + _number(data, place) for place in places]


def _field(data: _Data, table: int, number: int) -> int | None:
    """Where a field of a table lies; None: it has none."""
    _check_within(data, table, 4)
    names = table - struct.unpack("<i", data[table : table + 4])[0]
    size = _short(data, names)
    at = 4 + 2 * number
    if at + 2 > size:
        return None
    offset = _short(data, names + at)
    return table + offset if offset else None


def _short(data: _Data, at: int) -> int:
    _check_within(data, at, 2)
    return int.from_bytes(data[at : at + 2], "little")


def _number(data: _Data, at: int) -> int:
    _check_within(data, at, 4)
    return int.from_bytes(data[at : at + 4], "little")


def _long(data: _Data, at: int) -> int:
    _check_within(data, at, 8)
    return int.from_bytes(data[at : at + 8], "little")


def _check_within(data: _Data, at: int, size: int) -> int:
    if at < 0 or at + size > len(data):
        raise ModelLoadError(
            f"is cut off or damaged: it has {len(data)} bytes, and points to byte {at + size}"
        )
    return size
