"""Parse JSON whose long lists of numbers become arrays at once, without a Python object a number.

Such a list is cut out of the text, read by simdjson, and its brackets and commas are compared with
those that its shape asks for; what is left of the text is parsed as ever. Whatever is not plain
(ragged rows, NaN, booleans, numbers of more than 64 bits, mistakes) is left to the ordinary parser,
which says what is wrong, or what numpy makes of it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson

from headrace.receiver.codecs import json_tensor
from headrace.values import Array

# Shorter lists are left to the ordinary parser: it is as fast for those.
_SHORTEST_BYTES = 2048
_MOST_RANK = 32
_SPACE = b" \t\r\n"
_BACKSLASH = 0x5C
_NO_STRUCTURE = b"0123456789+-.eE" + _SPACE
# What simdjson raises for mistakes, other than numbers, and integers of more than 64 bits.
_NOT_PLAIN = (ValueError, TypeError, RuntimeError)
# A parser keeps the memory of the largest text it has seen.
_KEPT_BYTES = 16 * 2**20


class Span(NamedTuple):
    """Where a list that is the value of a key stands in the text."""

    start: int
    end: int


class ListParser:
    """Parses one body after the other with the same memory; for one thread."""

    def __init__(self) -> None:
        self._parser = simdjson.Parser()
        # Stands in the text for a list; no client can guess it.
        self._mark = secrets.token_hex(16)
        # Clients send the same shape again and again.
        self._last: tuple[bytes, tuple[int, ...] | None] = (b"", None)

    def parse(self, body: bytes, *, first_only: bool = False) -> dict[str, Any]:
        """Parse a JSON object like ``json_tensor.parse``, but long lists of numbers as arrays.

        Raises:
            MalformedRequest: it is no JSON, or no object.
        """
        arrays: list[Array] = []
        parts: list[bytes] = []
        at = 0
        for start, end in _long_lists(body):
            array = self._numbers(body[start:end])
            if array is not None:
                parts += (body[at:start], b'"%s%d"' % (self._mark.encode(), len(arrays)))
                arrays.append(array)
                at = end
        if len(body) > _KEPT_BYTES:
            self._parser, self._last = simdjson.Parser(), (b"", None)
        if not arrays:
            return json_tensor.parse(body, first_only=first_only)
        try:
            value = orjson.loads(b"".join((*parts, body[at:])))
        except orjson.JSONDecodeError:  # the place of the mistake is that in the whole text
            return json_tensor.parse(body, first_only=first_only)
        if not isinstance(value, dict):
            return json_tensor.parse(body, first_only=first_only)
        self._fill_in(value, arrays)
        return value

    def _numbers(self, text: bytes) -> Array | None:
        """Read a list of numbers as numpy would read it: integers or floats of 64 bits."""
        structure = text.translate(None, _NO_STRUCTURE)
        if structure != self._last[0]:
            self._last = (structure, regular_shape(structure))
        shape = self._last[1]
        if shape is None:
            return None
        # One fraction makes floats of all, as it does with numpy.
        whole = b"." not in text and b"e" not in text and b"E" not in text
        try:
            values: Any = self._parser.parse(text)
            buffer = values.as_buffer(of_type="i" if whole else "d")
        except _NOT_PLAIN:
            return None
        array = np.frombuffer(buffer, np.int64 if whole else np.float64)
        return array.reshape(shape) if array.size == math.prod(shape) else None

    def _fill_in(self, value: dict[str, Any], arrays: list[Array]) -> None:
        marked = {f"{self._mark}{number}": array for number, array in enumerate(arrays)}
        left: list[Any] = [value]
        while left:
            one = left.pop()
            if isinstance(one, list):
                left += [element for element in one if isinstance(element, dict | list)]
                continue
            for key, element in one.items():
                if isinstance(element, dict | list):
                    left.append(element)
                elif isinstance(element, str) and element in marked:
                    one[key] = marked[element]


def regular_shape(structure: bytes) -> tuple[int, ...] | None:
    """Return the shape of nested lists, of which only ``[``, ``]`` and ``,`` are left.

    None when rows of one level differ in length, or are empty.
    """
    rank = len(structure) - len(structure.lstrip(b"["))
    if not 0 < rank <= _MOST_RANK:
        return None
    shape: list[int] = []
    unit = b""
    for level in range(1, rank + 1):
        start = rank - level
        end = structure.find(b"]" * level, start)
        # Without its first bracket: n units, each with a comma or, at the end, a bracket behind it.
        count, rest = divmod(end + level - start - 1, len(unit) + 1)
        if end < 0 or rest:
            return None
        unit = b"[" + (unit + b",") * (count - 1) + unit + b"]"
        shape.append(count)
    return tuple(reversed(shape)) if unit == structure else None


def _long_lists(body: bytes) -> Iterator[Span]:
    """Find lists that are the value of a key and have neither strings nor objects in them."""
    quote = body.find(b'"')
    while quote >= 0:
        end = _end_of_string(body, quote)
        if end < 0:
            return
        quote = body.find(b'"', end)
        stop = len(body) if quote < 0 else quote
        if stop - end > _SHORTEST_BYTES:
            span = _list_between(body, end, stop)
            if span is not None:
                yield span


def _end_of_string(body: bytes, quote: int) -> int:
    """Where the string that begins with this quote has ended; -1 if it does not."""
    at = body.find(b'"', quote + 1)
    while at >= 0:
        before = at - 1
        while body[before] == _BACKSLASH:
            before -= 1
        if (at - before) % 2:
            return at + 1
        at = body.find(b'"', at + 1)
    return -1


def _list_between(body: bytes, start: int, stop: int) -> Span | None:
    opening = body.find(b"[", start, stop)
    if opening < 0 or body[start:opening].strip(_SPACE) != b":":
        return None
    brace = body.find(b"}", opening, stop)
    end = body.rfind(b"]", opening, stop if brace < 0 else brace) + 1
    return Span(opening, end) if end - opening > _SHORTEST_BYTES else None
