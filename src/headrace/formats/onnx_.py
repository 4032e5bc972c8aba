"""What an ONNX file says of itself: names of classes, inputs and outputs, and files of weights.

Source: onnx/onnx.proto; names of classes are as Ultralytics writes them, a Python dict by class.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from headrace.formats.wire import inside, read_varint, tag_of

# A StringStringEntryProto of TensorProto.external_data: its key, and the tag of its value.
_LOCATION, _NAME_TAG = b"\x0a\x08location", bytes((tag_of(2),))
_LONGEST_NAME = 4096
_BLOCK_BYTES = 2**18  # stays in the cache of a core, where it is copied and searched
_WHOLE_BYTES = len(_LOCATION) + _LONGEST_NAME
_GRAPH, _METADATA = 7, 14  # of ModelProto; the latter messages of a key and a value
_KEY, _VALUE = 1, 2
# Of GraphProto; ports are ValueInfoProtos, whose type may be a tensor's, which may have a shape.
_INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 5, 11, 12, 15
_TENSOR_NAME, _VALUES = 8, 1  # of TensorProto; of SparseTensorProto, a TensorProto with the name
_NAME, _TYPE, _TENSOR, _SHAPE = 1, 2, 1, 2

_NAMES_KEY = b"names"
_MOST_BYTES = 2**20
_TEXT = r"""'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*\""""
_PAIR = re.compile(rf"\s*['\"]?([0-9]{{1,7}})['\"]?\s*:\s*({_TEXT})\s*(?:,|$)")


def labels(data: memoryview) -> tuple[str, ...]:
    """The names of its classes, in order; none where it has none, or not one for every class.

    Raises:
        ValueError: it is no ONNX file.
    """
    for entry in inside(data, _METADATA):
        if bytes(next(inside(entry, _KEY), b"")) == _NAMES_KEY:
            return _in_order(next(inside(entry, _VALUE), memoryview(b"")))
    return ()


def rankless(data: memoryview) -> frozenset[str]:
    """The inputs that it gives no shape, not even that of a single number.

    Raises:
        ValueError: it is no ONNX file.
    """
    return frozenset(
        bytes(next(inside(given, _NAME), b"")).decode("utf-8", "replace")
        for graph in inside(data, _GRAPH)
        for given in inside(graph, _INPUT)
        for kind in inside(given, _TYPE)
        for tensor in inside(kind, _TENSOR)
        if next(inside(tensor, _SHAPE), None) is None
    )


def ports(data: memoryview) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of its inputs and outputs, in order; what has a value in the file is no input.

    Raises:
        ValueError: it is no ONNX file, or a name is no text.
    """
    (graph, *_) = (*inside(data, _GRAPH), memoryview(b""))
    dense = inside(graph, _INITIALIZER)
    sparse = (tensor for one in inside(graph, _SPARSE) for tensor in inside(one, _VALUES))
    given = {_text(tensor, _TENSOR_NAME) for tensor in (*dense, *sparse)}
    names = (_text(port, _NAME) for port in inside(graph, _INPUT))
    outputs = tuple(_text(port, _NAME) for port in inside(graph, _OUTPUT))
    return tuple(name for name in names if name not in given), outputs


def _text(message: memoryview, number: int) -> str:
    return bytes(next(inside(message, number), b"")).decode()


def weights_files(file: BinaryIO) -> frozenset[str] | None:
    """The names of the files that its weights lie in; None where one cannot be told.

    They are searched for in the whole file, which is faster than to walk through it; block by
    block, for who maps a file ends when somebody cuts it off meanwhile.

    Raises:
        OSError: it cannot be read.
    """
    names: set[str] = set()
    for data, end in _blocks(file):
        at = data.find(_LOCATION)
        while 0 <= at < end:
            at += len(_LOCATION)
            name = _name(data[at : at + _LONGEST_NAME])
            if name is None:
                return None
            names.add(name)
            at = data.find(_LOCATION, at)
    return frozenset(names)


def _blocks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """All of a file, and up to where of each block what begins there is whole.

    The next block begins there.
    """
    rest, is_last = b"", False
    while not is_last:
        block = file.read(_BLOCK_BYTES)
        is_last = len(block) < _BLOCK_BYTES
        data = rest + block
        end = len(data) if is_last else len(data) - _WHOLE_BYTES
        yield data, end
        rest = data[end:]


def _name(data: bytes) -> str | None:
    """The name of a file beside the model, if that is what comes next."""
    if data[:1] != _NAME_TAG:
        return None
    try:
        size, start = read_varint(memoryview(data), 1)
        name = data[start : start + size].decode()
    except ValueError:  # cut off, or no text
        return None
    place = PurePosixPath(name)
    whole = start + size <= len(data)
    if not whole or not name or "\0" in name or place.is_absolute() or ".." in place.parts:
        return None
    return name


def _in_order(value: memoryview) -> tuple[str, ...]:
    if len(value) > _MOST_BYTES:
        return ()
    text = bytes(value).decode("utf-8", "replace").strip()
    if not (text.startswith("{") and text.endswith("}")):
        return ()
    found: list[str] = []
    inner, at = text[1:-1].rstrip(), 0
    while pair := _PAIR.match(inner, at):
        name = _unquoted(pair[2])
        if name is None or int(pair[1]) != len(found):
            return ()
        found.append(name)
        at = pair.end()
    return tuple(found) if at == len(inner) else ()


def _unquoted(text: str) -> str | None:
    """A text as JSON or Python writes it; None: it is none, or cannot be sent."""
    try:
        # JSON writes two halves for what is beyond 16 bits, which Python would leave apart.
        name = str(_of_json(text) or ast.literal_eval(text))
        name.encode()
    except (SyntaxError, ValueError):  # an escape that is none, or half of a letter
        return None
    return name


def _of_json(text: str) -> str | None:
    try:
        return str(json.loads(text))
    except ValueError:
        return None
