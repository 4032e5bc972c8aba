"""JSON numbers, strings and nested lists from and to tensors."""

from __future__ import annotations

import base64
import json
import math
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from headrace.errors import InvalidInput, MalformedRequest
from headrace.receiver.codecs.decoded import Decoded
from headrace.values import Array, DType

_DEPTH_LIMIT = 64
_ASCII_SPACE = b" \t\n\v\f\r"
_HALVES = (DType.FP16.numpy, DType.BF16.numpy)  # JSON has no such numbers, and orjson neither


def parse(body: bytes | memoryview, *, first_only: bool = False) -> dict[str, Any]:
    """Parse a JSON object; NaN and Infinity are taken, as TensorFlow Serving takes them.

    With ``first_only`` whatever follows the object is not looked at.

    Raises:
        MalformedRequest: it is no JSON, or no object.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _parse_leniently(body, error, first_only=first_only)
    if not isinstance(value, dict):
        raise MalformedRequest(f"the body must be a JSON object, not {kind(value)}")
    return value


def _parse_leniently(
    body: bytes | memoryview, error: orjson.JSONDecodeError, *, first_only: bool
) -> Any:
    text = bytes(body)
    if first_only or b"NaN" in text or b"Infinity" in text:
        try:
            value = _first(text) if first_only else json.loads(text, parse_float=_finite)
            if b"\\u" in text:
                json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
            return value
        except (ValueError, RecursionError):
            pass  # the strict parser's message is the better one
    raise MalformedRequest(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error


def _first(text: bytes) -> Any:
    """The document that a text begins with; what comes after it need not even be UTF-8."""
    decoded = text.decode("utf-8", "surrogateescape").lstrip(" \t\r\n")
    value, end = json.JSONDecoder(parse_float=_finite).raw_decode(decoded)
    decoded[:end].encode()  # a byte that is no UTF-8 is no text
    return value


def _finite(text: str) -> float:
    """Read a number; Infinity is written as that, and does not come of one that is too large."""
    number = float(text)
    if math.isinf(number):
        raise MalformedRequest(f"JSON Parse error: the number {reprlib.repr(text)} is too large")
    return number


def to_tensor(name: str, value: Any, dtype: DType, shape: Sequence[int] | None = None) -> Array:
    """Make a tensor of a JSON value: a scalar or nested lists of equal lengths.

    With ``shape`` the value may also be flat, row-major (Open Inference Protocol).

    Raises:
        InvalidInput: ragged lists, elements of another kind, or another number of elements.
    """
    if isinstance(value, Decoded):
        array = value.only()
    else:
        array = _bytes(name, value) if dtype is DType.BYTES else _numbers(name, value, dtype)
    if shape is None or array.shape == tuple(shape):
        return array
    if array.size != math.prod(shape):
        raise InvalidInput(
            f"input {name!r}: shape {list(shape)} has {math.prod(shape)} elements, the data "
            f"{array.size}"
        )
    return array.reshape(shape)


def to_json(array: Array, *, base64_bytes: bool = False) -> Any:
    """Make a JSON value of a tensor, for ``dumps``; strings are text unless ``base64_bytes``."""
    if array.dtype.kind in "OSU":
        return _strings(array, base64_bytes=base64_bytes).tolist()
    array = widened(array)
    return np.asarray(array, order="C") if array.ndim else array.item()


def written(array: Array) -> int:
    """How many numbers and empty lists a tensor is in JSON at most: empty rows are written too."""
    return math.prod(max(size, 1) for size in array.shape)


def widened(array: Array) -> Array:
    """Make FP32 of the floats that have no digits of their own in JSON."""
    if array.dtype not in _HALVES:
        return array
    with np.errstate(invalid="ignore"):  # a NaN that signals
        return array.astype(np.float32)


def dumps(value: Any, *, arrays: Iterable[Array] = ()) -> bytes:
    """Write JSON with tensors in it; with NaN and Infinity when one of ``arrays`` has them."""
    if all(np.isfinite(array).all() for array in arrays if array.dtype.kind in "fV"):
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value, default=lambda numbers: numbers.tolist()).encode()


def to_bytes(name: str, value: Any) -> bytes:
    """Make bytes of a JSON string, or of ``{"b64": ...}``.

    Raises:
        InvalidInput: it is neither, or the base64 is broken.
    """
    flat: list[bytes] = []
    if not isinstance(value, list):
        _collect(name, value, flat, 0)
    if len(flat) != 1:
        raise InvalidInput(f'input {name!r}: give a string or {{"b64": ...}}')
    return flat[0]


def unbase64(what: str, value: Any) -> bytes:
    """Undo base64, in lines or in one and padded or not, as TensorFlow Serving takes it.

    ``what`` is what has it, for the message.

    Raises:
        InvalidInput: it is no string, or broken.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what}: broken base64: it is {kind(value)}, not a string")
    try:
        data = value.encode("ascii").translate(None, _ASCII_SPACE)
        padding = b"" if b"=" in data else b"=" * (-len(data) % 4)
        return base64.b64decode(data + padding, validate=True)
    except ValueError as error:  # among them binascii's
        raise InvalidInput(f"{what}: broken base64: {error}") from error


def _numbers(name: str, value: Any, dtype: DType) -> Array:
    if _has_text(value):
        raise InvalidInput(f"input {name!r} is {dtype.value}, the JSON has strings")
    try:
        array = np.asarray(value)
        if dtype is DType.UINT64 and array.dtype.kind == "f":
            array = _whole(value, array)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"input {name!r}: {_ragged(error)}") from error
    want, kind = dtype.numpy, array.dtype.kind
    if array.size == 0 and kind == "f":
        return array.astype(want)
    allowed = {"b": "b", "i": "iu", "u": "iu"}.get(want.kind, "fiu")
    if kind not in allowed:
        raise InvalidInput(f"input {name!r} is {dtype.value}, the JSON has {_element(array)}")
    # numpy makes 0 and 1 of them where there are numbers, too. Only there is it worth a look.
    if kind in "fiu" and ((array == 0) | (array == 1)).any() and _has_truth(value):
        raise InvalidInput(f"input {name!r} is {dtype.value}, the JSON has booleans")
    if want.kind in "iu":
        limits = np.iinfo(want)
        if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}")
    try:
        with np.errstate(over="raise"):
            return array.astype(want)
    except FloatingPointError as error:
        raise InvalidInput(f"input {name!r}: a number does not fit {dtype.value}") from error


def _has_truth(value: Any) -> bool:
    """Whether true or false is among the elements."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, list):
            continue
        if one and isinstance(one[0], list):
            waiting += one
        elif bool in set(map(type, one)):  # three times as long as their sum takes
            return True
    return False


def _has_text(value: Any) -> bool:
    """Whether strings are among the elements.

    numpy would make each as long as the longest: gigabytes, of a body of kilobytes.
    """
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            return True
        if not isinstance(one, list):
            continue
        if one and isinstance(one[0], list | np.ndarray):  # the scribe's parser makes arrays
            waiting += one
            continue
        try:
            sum(one)  # by far the fastest look at numbers, of which no two cannot be added
        except (TypeError, ValueError, OverflowError):  # the last of integers that no float can be
            waiting += one
    return False


def _whole(value: Any, rounded: Array) -> Array:
    """Read whole numbers on both sides of 2**63, of which numpy makes floats, without rounding."""
    exact = np.asarray(value, object)
    if all(type(element) is int for element in exact.flat):
        return exact.astype(np.uint64)
    return rounded


def _bytes(name: str, value: Any) -> Array:
    flat: list[bytes] = []
    shape = _collect(name, value, flat, 0)
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def _collect(name: str, value: Any, flat: list[bytes], depth: int) -> tuple[int, ...]:
    if isinstance(value, str):
        flat.append(value.encode())
        return ()
    if isinstance(value, dict) and list(value) == ["b64"]:
        flat.append(unbase64(f"input {name!r}", value["b64"]))
        return ()
    if not isinstance(value, list) or depth > _DEPTH_LIMIT:
        raise InvalidInput(
            f'input {name!r} is BYTES: give strings or {{"b64": ...}}, not {kind(value)}'
        )
    shapes = {_collect(name, element, flat, depth + 1) for element in value}
    if len(shapes) > 1:
        raise InvalidInput(f"input {name!r}: its lists are ragged")
    return (len(value), *(shapes.pop() if shapes else ()))


def _strings(array: Array, *, base64_bytes: bool) -> Array:
    texts = np.empty(array.size, object)
    for place, element in enumerate(array.ravel()):
        data = element.encode() if isinstance(element, str) else element
        if base64_bytes:
            texts[place] = {"b64": base64.b64encode(data).decode()}
        else:
            texts[place] = data.decode("utf-8", "replace")
    return texts.reshape(array.shape)


def _ragged(error: Exception) -> str:
    if isinstance(error, OverflowError):
        return "a number does not fit UINT64"
    if "inhomogeneous" in str(error):
        return "its lists are ragged: all rows of one level must have the same length"
    return str(error)


def _element(array: Array) -> str:
    names = {"U": "strings", "b": "booleans", "i": "integers", "u": "integers"}
    names["f"] = "fractions, or integers of more than 64 bits"
    return names.get(array.dtype.kind, "null, objects or elements of several kinds")


def kind(value: Any) -> str:
    """Say what a JSON value is, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
