"""TensorFlow SavedModels: that their variables are there, and what they declare.

Only the heads of fields are read (``saved_model.proto`` and those it imports have their numbers).
"""

from __future__ import annotations

import math
import re
import stat
from pathlib import Path

from headrace.engine.checks.beside import leads_outside
from headrace.engine.checks.protobuf import (
    BYTES,
    VARINT,
    Data,
    Part,
    Tables,
    fields,
    parts,
    signed,
    whole,
)
from headrace.errors import ModelLoadError

_PARTS: Tables = {
    "saved": {2: "meta"},
    "meta": {2: "graph"},
    "graph": {1: "node", 2: "library"},
    "library": {1: "function"},
    "function": {3: "node"},
    "node": {5: "entry"},
    "entry": {2: "value"},
    "value": {1: "list", 8: "tensor"},
    "list": {8: "tensor"},
}
_SHAPE: Tables = {"tensor": {2: "shape"}, "shape": {2: "dim"}}
# Bytes of an element, by DataType; of strings, and of what is not known, none is said.
_BYTES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 8: 8, 9: 8, 10: 1, 14: 2, 17: 2, 18: 16, 19: 2}
_VARIABLES = frozenset({b"VarHandleOp", b"VariableV2", b"Variable"})
_LONGEST_NAME = 64
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")
# What a table of LevelDB's format ends with; its last block and this are at least so long.
_INDEX_END = bytes.fromhex("57fb808b247547db")
_INDEX_BYTES = 48


def look(data: Data, path: Path) -> int:
    """Check a SavedModel, by its ``saved_model.pb``; return how many bytes of weights it declares.

    Raises:
        ModelLoadError: it cannot be served as it is.
    """
    declared, graphs, varies = 0, 0, False
    for part in parts(data, _PARTS, whole(data, "saved")):
        if part.kind == "tensor":
            declared += _tensor_bytes(data, part)
        elif part.kind == "node":
            varies = varies or _is_variable(data, part)
        graphs += part.kind == "graph"
    if not graphs:
        raise ModelLoadError("has no graph in it: it is the beginning of a SavedModel, or none")
    return declared + (_variable_bytes(path) if varies else 0)


def _is_variable(data: Data, node: Part) -> bool:
    for field in fields(data, node.start, node.end):
        if field.number == 2 and field.kind == BYTES:  # noqa: PLR2004 - its op
            short = field.end - field.start <= _LONGEST_NAME
            return short and data[field.start : field.end] in _VARIABLES
    return False


def _tensor_bytes(data: Data, part: Part) -> int:
    """What a TensorProto takes. One value may stand for all, so that few bytes declare many."""
    kind, held = 0, 0
    for field in fields(data, part.start, part.end):
        if field.number == 1 and field.kind == VARINT:
            kind = field.value
        elif field.number == 4:  # noqa: PLR2004 - its content
            held = field.end - field.start
    dims = [
        signed(field.value)
        for inner in parts(data, _SHAPE, part)
        if inner.kind == "dim"
        for field in fields(data, inner.start, inner.end)
        if field.number == 1
    ]
    size = _BYTES.get(kind)
    elements = 0 if any(dim <= 0 for dim in dims) else math.prod(dims[:64])
    if size is not None and held and held != size * elements:
        raise ModelLoadError(
            f"declares weights of the shape {dims[:8]}, which are {size * elements} bytes, and "
            f"holds {held}: it is damaged"
        )
    return (size or 1) * elements


def _variable_bytes(model: Path) -> int:
    """What the files of the variables hold.

    Raises:
        ModelLoadError: they are not all there, or not the model's own.
    """
    folder = model.parent / "variables"
    try:
        _check_index(model, folder / "variables.index")
        shards = {file for file in folder.iterdir() if _SHARD.fullmatch(file.name)}
        if not shards:
            raise ModelLoadError(f"has variables, and no variables.data-* in {folder}: copy it too")
        total = int(min(shards).name[-5:])
        wanted = {folder / f"variables.data-{number:05}-of-{total:05}" for number in range(total)}
        return sum(_own_bytes(model, file) for file in sorted(shards | wanted))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelLoadError(
            f"has variables, and {error.filename} is missing: copy the folder `variables` too"
        ) from error
    except OSError as error:
        raise ModelLoadError(
            f"has variables, and {error.filename} cannot be read: {error.strerror}"
        ) from error


def _check_index(model: Path, file: Path) -> None:
    size = _own_bytes(model, file)
    with file.open("rb") as opened:
        opened.seek(max(0, size - len(_INDEX_END)))
        if size < _INDEX_BYTES or opened.read() != _INDEX_END:
            raise ModelLoadError(f"has variables, and {file} is cut off or damaged: copy it again")


def _own_bytes(model: Path, file: Path) -> int:
    """The size of a file that is the model's own."""
    status = file.stat()
    if leads_outside(model, file.resolve()):
        raise ModelLoadError(
            f"has variables, and {file} is behind a link that leads outside the folder of the "
            "model: copy it there"
        )
    if not stat.S_ISREG(status.st_mode):
        raise ModelLoadError(f"has variables, and {file} is not a regular file")
    return status.st_size
