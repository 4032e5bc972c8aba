"""JSON as TensorFlow Serving writes it: its numbers, and its way to break lines.

Rows are written on a line, columns an element a line, both indented by 4; a float has six digits
where those say it, else all its digits, and always a point or an exponent. Lines and digits do not
come for nothing: beyond ``PRETTY_ELEMENTS`` an answer is compact, with the shortest digits that say
the same number.

Source: tensorflow_serving/util/json_tensor.cc and RapidJSON's PrettyWriter.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from headrace.receiver.codecs import json_tensor
from headrace.values import Array

PRETTY_ELEMENTS = 2**14
"""The largest answer written to the letter: 1 ms of the receiver's thread, 5 of tiny numbers."""

_INDENT = "    "
_ROOT = 1
# Powers of ten; those up to 22 are exact.
_TENS = np.array([float(f"1e{power}") for power in range(309)])
_EXACT_TEN = 22
_FLOAT = struct.Struct("f")
# Up to here one after the other is faster than all at once, which takes 25 µs even for one.
_FEW = 20
_SHORT_DIGITS = 6
_LEAST_EXPONENT = -4  # smaller ones are written, and so are those of more than six digits
_LONG_DIGITS = {4: 9, 8: 17}  # by bytes: what it takes to say any float, any double
_WHOLE, _SHORT, _LONG, _NAN, _INF, _MINUS_INF = range(6)


def predictions(outputs: Mapping[str, Array]) -> bytes:
    """Write outputs that have rows in common, a row after the other."""
    if not _is_small(outputs):
        return _compact("predictions", _rows(outputs), outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        values = _inline(name, array, _ROOT + 1)
        return _object("predictions", _closed(", ".join(values)))
    columns = [(_key(name), _inline(name, array, _ROOT + 2)) for name, array in outputs.items()]
    rows = [
        _spread("{", [f"{key}: {cells[row]}" for key, cells in columns], "}", _ROOT + 1)
        for row in range(len(columns[0][1]))
    ]
    return _object("predictions", _spread("[", rows, "]", _ROOT))


def columns(outputs: Mapping[str, Array]) -> bytes:
    """Write outputs whole, one after the other; the only one bare."""
    if not _is_small(outputs):
        values = {name: _value(name, array) for name, array in outputs.items()}
        only = next(iter(values.values())) if len(values) == 1 else values
        return _compact("outputs", only, outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _object("outputs", _nested(name, array, _ROOT))
    members = [f"{_key(n)}: {_nested(n, array, _ROOT + 1)}" for n, array in outputs.items()]
    return _object("outputs", _spread("{", members, "}", _ROOT))


def results(rows: list[list[tuple[str, float]]]) -> bytes:
    """Write classifications: label and score of each class of each example."""
    scores = np.array([score for row in rows for _, score in row], np.float32)
    if scores.size > PRETTY_ELEMENTS:
        # With digits of doubles: shorter ones take ten times as long.
        return _compact("results", rows, {"scores": scores})
    at, lines = iter(numbers(scores)), []
    for row in rows:
        pairs = [f"[{_text(label)}, {next(at)}]" for label, _ in row]
        lines.append(f"[{', '.join(pairs)}]")
    return _object("results", _closed(", ".join(lines)))


def values(found: Array) -> bytes:
    """Write regressions: a value an example."""
    exact = np.asarray(found, np.float32)
    if exact.size > PRETTY_ELEMENTS:
        return _compact("results", exact, {"values": exact})
    return _object("results", f"[{', '.join(numbers(exact))}]")


def numbers(array: Array) -> list[str]:
    """Write each float of a tensor, row-major."""
    exact = array.ravel()
    if exact.size <= _FEW:
        return [_number(value, exact.itemsize) for value in exact.tolist()]
    if exact.itemsize != _FLOAT.size:
        return _printed(exact)
    finite, sizes = _sizes(exact)
    known = finite & (sizes < 10.0**_SHORT_DIGITS)
    shown, exponents = _shown(np.where(known & (sizes > 0), sizes, 1))
    shown = np.where(sizes == 0, 0, shown) * np.where(np.signbit(exact), -1, 1)
    texts = orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    places = np.flatnonzero(exponents)
    for place, exponent in zip(places.tolist(), exponents[places].tolist(), strict=True):
        texts[place] = f"{texts[place].removesuffix('.0')}e-{exponent:02}"
    places = np.flatnonzero(~known)
    for place, text in zip(places.tolist(), _printed(exact[places]), strict=True):
        texts[place] = text
    return texts


def _shown(sizes: Array) -> tuple[Array, Array]:
    """Round floats to the digits they are written with, and take the exponents of small ones out.

    The shortest digits of what is rounded are those, so that any writer writes them, and orjson is
    ten times as fast as C's printf. For numbers that need no exponent no step but the last rounds:
    24 bits times a power of ten of less than 29 are less than a double has.

    Returns:
        Numbers of at most six digits before the point, and for each the exponent to write after
        it, without its sign; 0 for none.
    """
    exponents = np.floor(np.log10(sizes)).astype(np.int64)
    tens = _TENS[_SHORT_DIGITS - 1 - exponents]
    more = 10.0 ** (_LONG_DIGITS[_FLOAT.size] - _SHORT_DIGITS)
    short = np.rint(sizes * tens)
    is_short = (short / tens).astype(np.float32) == sizes
    factors = np.where(is_short, 1, more)
    digits = np.where(is_short, short, np.rint(sizes * tens * more))
    ones = factors * 10.0 ** (_SHORT_DIGITS - 1)
    carried = digits >= 10 * ones
    exponents += carried
    small = exponents < _LEAST_EXPONENT
    # What was carried is a power of ten, and its digit a 1.
    shown = np.where(small & carried, 1, digits / np.where(small, ones, tens * factors))
    return shown, np.where(small, -exponents, 0)


def _printed(exact: Array) -> list[str]:
    """Write floats by C's printf, in one formatting: one after the other takes 30 % longer."""
    if not exact.size:
        return []
    kinds = _kinds(exact)
    formats = (
        "%.1f",
        f"%.{_SHORT_DIGITS}g",
        f"%.{_LONG_DIGITS[exact.itemsize]}g",
        "NaN",
        "Infinity",
        "-Infinity",
    )
    template = "\n".join(map(formats.__getitem__, kinds.tolist()))
    return (template % tuple(exact[kinds <= _LONG].tolist())).split("\n")


def _number(value: float, size_bytes: int) -> str:
    """Write a float (of 4 bytes) or double (of 8)."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"%.{_SHORT_DIGITS}g" % value
    read = float(text)
    if value != (_FLOAT.unpack(_FLOAT.pack(read))[0] if size_bytes == _FLOAT.size else read):
        text = f"%.{_LONG_DIGITS[size_bytes]}g" % value
    return text if "." in text or "e" in text else f"{text}.0"


def _kinds(exact: Array) -> Array:
    """Which format says each float: as short as it may be, and a point in every whole number."""
    finite, sizes = _sizes(exact)
    short = _is_short(exact, sizes)
    limits = np.where(short, 10.0**_SHORT_DIGITS, 10.0 ** _LONG_DIGITS[exact.itemsize])
    whole = (np.trunc(sizes) == sizes) & (sizes < limits)
    kinds = np.where(whole, _WHOLE, np.where(short, _SHORT, _LONG))
    if not finite.all():
        endless = np.where(exact > 0, _INF, _MINUS_INF)
        kinds = np.where(finite, kinds, np.where(np.isnan(exact), _NAN, endless))
    return kinds


def _sizes(exact: Array) -> tuple[Array, Array]:
    """Which are finite, and how large those are; a NaN that signals must not be computed with."""
    finite = np.isfinite(exact)
    return finite, np.abs(np.where(finite, exact, 0)).astype(np.float64)


def _is_short(exact: Array, sizes: Array) -> Array:
    """Whether six digits say the same number."""
    nonzero = np.where(sizes > 0, sizes, 1)
    shifts = _SHORT_DIGITS - 1 - np.floor(np.log10(nonzero)).astype(np.int64)
    tens = _TENS[np.minimum(np.abs(shifts), len(_TENS) - 1)]
    up, down = np.where(shifts > 0, tens, 1), np.where(shifts < 0, tens, 1)
    back = np.rint(nonzero * up / down) / up * down
    short = back.astype(exact.dtype) == nonzero
    if exact.itemsize != _FLOAT.size:  # here, tens must be exact to tell
        unsure = np.abs(shifts) > _EXACT_TEN
        short[unsure] = [float(f"%.{_SHORT_DIGITS}g" % size) == size for size in sizes[unsure]]
    told: Array = short | (sizes == 0)
    return told


def _is_small(outputs: Mapping[str, Array]) -> bool:
    return sum(map(json_tensor.written, outputs.values())) <= PRETTY_ELEMENTS


# -- pretty ----------------------------------------------------------------------------------------


def _tokens(name: str, array: Array, level: int) -> list[str]:
    """The elements as text, row-major; ``level`` is how many lists and objects are around each."""
    if array.dtype.kind in "OSU":
        return [_string(name, element, level) for element in array.ravel().tolist()]
    if array.dtype.kind == "b":
        return ["true" if element else "false" for element in array.ravel().tolist()]
    if array.dtype.kind in "iu":
        return list(map(str, array.ravel().tolist()))
    return numbers(json_tensor.widened(array))


def _string(name: str, element: bytes | str, level: int) -> str:
    data = element.encode() if isinstance(element, str) else element
    if not name.endswith("_bytes"):
        return _text(data.decode("utf-8", "replace"))
    return _spread("{", [f'"b64": "{base64.b64encode(data).decode()}"'], "}", level)


def _inline(name: str, array: Array, level: int) -> list[str]:
    """Each row on a line; ``level`` is how many lists and objects are around it."""
    cells = _tokens(name, array, level + array.ndim - 1)
    for axis in range(array.ndim - 1, 0, -1):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        cells = [f"[{', '.join(cells[i * size : (i + 1) * size])}]" for i in range(count)]
    return cells


def _nested(name: str, array: Array, level: int) -> str:
    """The whole of a tensor, an element a line."""
    cells = _tokens(name, array, level + array.ndim)
    for axis in range(array.ndim - 1, -1, -1):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        cells = [
            _spread("[", cells[i * size : (i + 1) * size], "]", level + axis) for i in range(count)
        ]
    return cells[0]


def _spread(opening: str, members: list[str], closing: str, level: int) -> str:
    """A list or object, a member a line."""
    if not members:
        return opening + closing
    line = "\n" + _INDENT * (level + 1)
    return f"{opening}{line}{f',{line}'.join(members)}\n{_INDENT * level}{closing}"


def _closed(line: str) -> str:
    """A list whose members share a line and whose end does not: PrettyWriter's when told midway."""
    return f"[{line}\n{_INDENT}]" if line else "[]"


def _object(key: str, value: str) -> bytes:
    return f'{{\n{_INDENT}"{key}": {value}\n}}'.encode()


def _key(name: str) -> str:
    return _text(name)


def _text(text: str) -> str:
    return orjson.dumps(text).decode()


# -- compact ---------------------------------------------------------------------------------------


def _value(name: str, array: Array) -> Any:
    return json_tensor.to_json(array, base64_bytes=name.endswith("_bytes"))


def _rows(outputs: Mapping[str, Array]) -> Any:
    found = {name: _value(name, array) for name, array in outputs.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    count = len(next(iter(outputs.values())))
    return [{name: value[row] for name, value in found.items()} for row in range(count)]


def _compact(key: str, value: object, outputs: Mapping[str, Array]) -> bytes:
    return json_tensor.dumps({key: value}, arrays=outputs.values())
