"""OpenVINO IR: an .xml without tricks, and a .bin that holds what it points to."""

from __future__ import annotations

import math
import mmap
from pathlib import Path

# Of a parser for XML only this is safe: it stops at the first sign of entities, see below.
from xml.parsers import expat

from headrace.engine.checks.beside import Claim, check
from headrace.errors import ModelLoadError

_BITS = {
    **dict.fromkeys(("boolean", "u8", "i8", "f8e4m3", "f8e5m2", "f8e8m0"), 8),
    **dict.fromkeys(("f16", "bf16", "u16", "i16"), 16),
    **dict.fromkeys(("f32", "u32", "i32"), 32),
    **dict.fromkeys(("f64", "u64", "i64"), 64),
    "u4": 4,
    "i4": 4,
    "nf4": 4,
    "f4e2m1": 4,
    "u2": 2,
    "u1": 1,
}
_STEP_BYTES = 2**20
# A network in the body of a loop is some six levels deeper than the one around it.
_DEEPEST = 200
_WEIGHTS = ".bin"


def look(data: bytes | mmap.mmap, path: Path) -> int:
    """Check an IR; return how many bytes of weights it declares.

    Raises:
        ModelLoadError: it cannot be served as it is.
    """
    reader = _Reader(path.with_suffix(_WEIGHTS).name)
    for at in range(0, len(data), _STEP_BYTES):
        reader.feed(data[at : at + _STEP_BYTES], last=at + _STEP_BYTES >= len(data))
    check(path, reader.claims)
    return sum(claim.size_bytes for claim in reader.claims)


class _Reader:
    """Notes what an IR says of its weights."""

    def __init__(self, weights: str) -> None:
        self.claims: list[Claim] = []
        self._weights = weights
        self._depth = 0
        self._layer: dict[str, str] = {}
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, part: bytes, *, last: bool) -> None:
        """Take some more of the file.

        Raises:
            ModelLoadError: it is no XML, or has what no IR has.
        """
        try:
            self._parser.Parse(part, last)
        except expat.ExpatError as error:
            raise ModelLoadError(f"is cut off or damaged: it is no whole XML: {error}") from error

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and tag != "net":
            raise ModelLoadError(f"is XML, but no OpenVINO IR: it is a <{tag[:40]}>, not a <net>")
        if self._depth > _DEEPEST:
            raise ModelLoadError(f"is nested more than {_DEEPEST} deep")
        if tag == "layer":
            self._layer = attributes
        elif tag == "data" and self._layer.get("type") == "Const":
            self.claims.append(self._claim(self._layer.get("name", ""), attributes))

    def _end(self, _: str) -> None:
        self._depth -= 1

    def _refuse(self, *_: object) -> None:
        raise ModelLoadError("has a document type, which could define entities; no IR has one")

    def _claim(self, name: str, said: dict[str, str]) -> Claim:
        offset, size = (_number(name, key, said.get(key, "0")) for key in ("offset", "size"))
        bits = _BITS.get(said.get("element_type", ""))
        dims = [_number(name, "shape", dim) for dim in said.get("shape", "").split(",") if dim]
        if bits is not None and -(-math.prod(dims[:64]) * bits // 8) != size:
            raise ModelLoadError(
                f"declares weights {name!r} of the shape {dims[:8]} in {size} bytes, which are not "
                "as many: it is damaged"
            )
        return Claim(name, self._weights, offset, size)


def _number(name: str, key: str, text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 20):  # noqa: PLR2004 - 2**63
        raise ModelLoadError(f"has weights {name!r} whose {key} is {text[:40]!r}, which is none")
    return int(text)
