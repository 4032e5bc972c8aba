"""What an ONNX file calls its classes, in its metadata.

Source: onnx/onnx.proto; the names are as Ultralytics writes them, a Python dict by class.
"""

from __future__ import annotations

import ast
import re

from headrace.formats.wire import inside

_METADATA = 14  # of ModelProto: messages of a key and a value
_KEY, _VALUE = 1, 2

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


def _in_order(value: memoryview) -> tuple[str, ...]:
    if len(value) > _MOST_BYTES:
        return ()
    text = bytes(value).decode("utf-8", "replace").strip()
    if not (text.startswith("{") and text.endswith("}")):
        return ()
    found: list[str] = []
    inner, at = text[1:-1].rstrip(), 0
    while pair := _PAIR.match(inner, at):
        if int(pair[1]) != len(found):
            return ()
        try:
            found.append(str(ast.literal_eval(pair[2])))
        except (SyntaxError, ValueError):  # an escape that is none
            return ()
        at = pair.end()
    return tuple(found) if at == len(inner) else ()
