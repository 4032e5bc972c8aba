"""OpenVINO IR: an .xml and the .bin that it points into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.contract.bad_models.case import Case

_PORT = '<port id="{}" precision="FP32"><dim>-1</dim><dim>4</dim></port>'
_CONST = '<port id="0" precision="FP32"><dim>4</dim><dim>4</dim></port>'
IR = """<?xml version="1.0"?>
<net name="linear" version="11">
<layers>
<layer id="0" name="x" type="Parameter" version="opset1">
<data shape="?,4" element_type="f32"/><output>{port0}</output></layer>
<layer id="1" name="w" type="Const" version="opset1">
<data element_type="f32" shape="4,4" offset="0" size="64"/><output>{const}</output></layer>
<layer id="2" name="y" type="MatMul" version="opset1">
<data transpose_a="false" transpose_b="false"/>
<input>{port0}{const1}</input><output>{port2}</output></layer>
<layer id="3" name="result" type="Result" version="opset1"><input>{port0}</input></layer>
</layers>
<edges>
<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>
</edges>
</net>
""".format(
    port0=_PORT.format(0),
    port2=_PORT.format(2),
    const=_CONST,
    const1=_CONST.replace('id="0"', 'id="1"'),
)
"""A whole one: y = x w, with w the first 64 bytes of the .bin."""

_BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE net [\n<!ENTITY a "'
    + "lol" * 100
    + '">\n'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">\n' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]>\n"
)
_FILE = '<?xml version="1.0"?>\n<!DOCTYPE net [<!ENTITY leak SYSTEM "file:///etc/passwd">]>\n'
_BODY = IR.partition("\n")[2]


def written(text: str, weights: bytes | None = bytes(64)) -> Callable[[Path], object]:
    """Write the pair, or the .xml alone."""

    def write(folder: Path) -> object:
        if weights is not None:
            (folder / "model.bin").write_bytes(weights)
        return (folder / "model.xml").write_text(text)

    return write


def _changed(old: str, new: str) -> str:
    if old not in IR:
        raise ValueError(old)
    return IR.replace(old, new)


def _folder_for_weights(folder: Path) -> None:
    (folder / "model.bin").mkdir()
    written(IR, None)(folder)


CASES: tuple[Case, ...] = (
    Case("ir-without-bin", r"'model\.bin', which is missing", written(IR, None)),
    Case("ir-bin-short", "which has 60 bytes", written(IR, bytes(60))),
    Case("ir-bin-empty", "it is empty", written(IR, b"")),
    Case("ir-bin-a-folder", "not a regular file", _folder_for_weights),
    Case(
        "ir-offset-beyond",
        "up to byte 1000064",
        written(_changed('offset="0"', 'offset="1000000"')),
    ),
    Case("ir-size-huge", "not as many", written(_changed('size="64"', f'size="{2**62}"'))),
    Case(
        "ir-size-not-of-shape",
        r"\[4000, 4\] in 64 bytes",
        written(_changed('shape="4,4"', 'shape="4000,4"')),
    ),
    Case("ir-offset-negative", "'-64'", written(_changed('offset="0"', 'offset="-64"'))),
    Case(
        "ir-entity-bomb",
        "document type",
        written(_BOMB + _BODY.replace('name="linear"', 'name="&j;"')),
    ),
    Case(
        "ir-entity-of-a-file",
        "document type",
        written(_FILE + _BODY.replace('"linear"', '"&leak;"')),
    ),
    Case("ir-halved", "no whole XML", written(IR[: len(IR) // 2])),
    Case("ir-other-xml", "<feed>, not a <net>", written("<feed><entry/></feed>")),
    Case("ir-layer-unknown", "Frobnicate", written(_changed('"MatMul"', '"Frobnicate"'))),
    Case(
        "ir-type-unknown",
        "f99",
        written(_changed('element_type="f32" shape', 'element_type="f99" shape')),
    ),
    Case("ir-edge-to-nobody", "Result", written(_changed('to-layer="3"', 'to-layer="77"'))),
    Case(
        "ir-edges-in-a-ring", "not in graph", written(_changed('from-layer="0"', 'from-layer="2"'))
    ),
    Case("ir-nested", "nested more than", written("<net>" * 100_000 + "</net>" * 100_000)),
    Case("ir-future", "cannot load", written(_changed('version="11"', 'version="99"'))),
)
