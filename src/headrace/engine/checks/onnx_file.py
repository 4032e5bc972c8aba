"""ONNX files: that what they declare is there, and that their functions come to an end.

Only the heads of fields are read (``onnx.proto3`` has their numbers). What operators there are, and
whether they fit each other, is for the library to say.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from headrace.engine.checks import beside, functions
from headrace.engine.checks.beside import Claim
from headrace.engine.checks.protobuf import (
    BYTES,
    VARINT,
    Data,
    Field,
    Part,
    Tables,
    fields,
    numbers,
    parts,
    signed,
    text,
    whole,
)
from headrace.errors import ModelLoadError

_PARTS: Tables = {
    "model": {7: "graph", 8: "opset", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
# What may be there once only: protobuf makes one message of several, which nobody here has seen.
_ONCE = {"attribute": (5, 6, 22), "sparse": (1, 2)}
# Bits of an element, by TensorProto.DataType; of strings, and of what is not known, none is said.
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
    21: 4,
    22: 4,
    23: 4,
    25: 2,
    26: 2,
}
_STRINGS = 6
_LISTS = (4, 5, 7, 10, 11)  # float, int32, int64, double, uint64
_OUTSIDE = 1  # data_location
NEWEST_OPSET = 28
"""Of the standard operators, in ONNX 1.23. OpenVINO takes any number for the newest it knows."""
_STANDARD = ("", "ai.onnx")
# Numbers above have no meaning in any processor: their product is not computed.
_MOST_ELEMENTS = 2**62


class _Tensor(NamedTuple):
    """What a tensor says of itself, and what it holds."""

    name: str
    bits: int | None
    elements: int
    raw_bytes: int | None
    listed: int
    """At most so many elements are in its lists, and at least as many bytes of the file."""
    outside: dict[str, str] | None

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return -(-self.elements * (self.bits or 8) // 8)


def look(data: Data, path: Path) -> int:
    """Check an ONNX file; return how many bytes of weights it declares.

    Raises:
        ModelLoadError: it cannot be served as it is.
    """
    seen = _Seen()
    for part in parts(data, _PARTS, whole(data, "model")):
        seen.kinds.add(part.kind)
        _take(data, part, seen)
    if "graph" not in seen.kinds:
        raise ModelLoadError("has no graph in it: it is the beginning of an ONNX file, or none")
    if "output" not in seen.kinds:
        raise ModelLoadError("has no outputs, so there is nothing to serve")
    if "function" in seen.kinds:
        functions.check(data)
    beside.check(path, seen.claims)
    return seen.declared_bytes


@dataclasses.dataclass(slots=True)
class _Seen:
    """What of a file has been seen so far."""

    declared_bytes: int = 0
    claims: list[Claim] = dataclasses.field(default_factory=list)
    kinds: set[str] = dataclasses.field(default_factory=set)


def _take(data: Data, part: Part, seen: _Seen) -> None:
    if part.kind in _ONCE:
        _check_once(data, part)
    match part.kind:
        case "tensor":
            tensor = _tensor(data, part)
            seen.declared_bytes += tensor.size_bytes
            if tensor.outside is None:
                _check_held(tensor)
            else:
                seen.claims.append(_claim(tensor, tensor.outside))
        case "sparse":
            seen.declared_bytes += _dense_bytes(data, part)
        case "opset":
            _check_opset(data, part)
        case "input" | "output":
            _check_name(data, part)


def _check_once(data: Data, part: Part) -> None:
    found = Counter(field.number for field in fields(data, part.start, part.end))
    if any(found[number] > 1 for number in _ONCE[part.kind]):
        raise ModelLoadError(f"has two values where one {part.kind} has one: it is damaged")


def _tensor(data: Data, part: Part) -> _Tensor:
    """Read the head of a TensorProto."""
    name, kind, raw, listed, outside = "", 0, None, 0, False
    dims: list[int] = []
    external: dict[str, str] = {}
    for field in fields(data, part.start, part.end):
        match field.number:
            case 1:
                dims += numbers(data, field)
            case 2:
                kind = field.value
            case 8:
                name = text(data, field)
            case 9:
                raw = field.end - field.start
            case 13:
                external |= _entry(data, field)
            case 14:
                outside = field.value == _OUTSIDE
            case _:
                listed += _listed(field)
    elements = _product(dims, f"weights {name!r}")
    return _Tensor(name, _BITS.get(kind), elements, raw, listed, external if outside else None)


def _listed(field: Field) -> int:
    """How many elements a field may hold at most."""
    if field.number == _STRINGS or (field.number in _LISTS and field.kind != BYTES):
        return 4  # one, but of 2 bits there are four in a number
    return 4 * (field.end - field.start) if field.number in _LISTS else 0


def _product(dims: list[int], what: str) -> int:
    if any(dim < 0 for dim in dims):
        raise ModelLoadError(f"declares {what} of a negative size: {dims[:8]}")
    elements = 0 if 0 in dims else math.prod(dims[:64])
    if elements > _MOST_ELEMENTS or len(dims) > 64:  # noqa: PLR2004 - no library has as many axes
        raise ModelLoadError(f"declares {what} of more elements than there can be: {dims[:8]}")
    return elements


def _check_held(tensor: _Tensor) -> None:
    """Check that a tensor holds what it declares."""
    if tensor.raw_bytes is None:
        if tensor.elements > tensor.listed:
            raise ModelLoadError(
                f"declares weights {tensor.name!r} of {tensor.elements} elements, and does not "
                "hold them: it is damaged"
            )
    elif tensor.bits is not None and tensor.raw_bytes != tensor.size_bytes:
        raise ModelLoadError(
            f"declares weights {tensor.name!r} of {tensor.size_bytes} bytes, and holds "
            f"{tensor.raw_bytes}: it is damaged"
        )


def _entry(data: Data, field: Field) -> dict[str, str]:
    """A StringStringEntryProto."""
    found = {1: "", 2: ""}
    for inner in fields(data, field.start, field.end):
        if inner.number in found and inner.kind == BYTES:
            found[inner.number] = text(data, inner)
    return {found[1]: found[2]}


def _claim(tensor: _Tensor, outside: dict[str, str]) -> Claim:
    """What a tensor says of the file that it lies in."""
    at = {}
    for key in ("offset", "length"):
        said = outside.get(key, "0") or "0"
        if not (said.isascii() and said.isdecimal() and len(said) < 20):  # noqa: PLR2004 - 2**63
            raise ModelLoadError(
                f"says that its weights {tensor.name!r} lie at {key} {said[:40]!r} of a file, "
                "which is no number"
            )
        at[key] = int(said)
    if 0 < at["length"] < tensor.size_bytes and tensor.bits is not None:
        raise ModelLoadError(
            f"declares weights {tensor.name!r} of {tensor.size_bytes} bytes, and says that "
            f"{at['length']} bytes of another file hold them"
        )
    needed = max(at["length"], tensor.size_bytes)
    return Claim(tensor.name, outside.get("location", ""), at["offset"], needed)


def _dense_bytes(data: Data, part: Part) -> int:
    """What a SparseTensorProto takes once zeros are put in, as libraries do; 4 bytes an element."""
    dims: list[int] = []
    for field in fields(data, part.start, part.end):
        if field.number == 3:  # noqa: PLR2004 - its dims
            dims += numbers(data, field)
    return 4 * _product(dims, "sparse weights")


def _check_opset(data: Data, part: Part) -> None:
    domain, version = "", 0
    for field in fields(data, part.start, part.end):
        if field.number == 1 and field.kind == BYTES:
            domain = text(data, field)
        elif field.kind == VARINT:
            version = signed(field.value)
    if domain in _STANDARD and version > NEWEST_OPSET:
        raise ModelLoadError(
            f"is of opset {version}, and {NEWEST_OPSET} is the newest known here: export it with "
            "an older one"
        )


def _check_name(data: Data, part: Part) -> None:
    for field in fields(data, part.start, part.end):
        if field.number == 1 and field.kind == BYTES:
            text(data, field)
