"""TensorFlow's files, written by hand: a SavedModel is protobuf, TFLite a flatbuffer."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import flatbuffers

from tests.contract.bad_models.case import Case, holding

_FLOAT = 1  # DT_FLOAT
_FOOTER = bytes(40) + struct.pack("<Q", 0xDB4775248B80FB57)  # of a table of LevelDB's format


def varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, content: bytes | str | int) -> bytes:
    """One field of a message: bytes and text by length, numbers as they are."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def _attr(name: str, value: bytes) -> bytes:
    return field(5, field(1, name) + field(2, value))


def _node(name: str, op: str, inputs: Sequence[str] = (), *attrs: bytes) -> bytes:
    named = b"".join(field(3, one) for one in inputs)
    return field(1, field(1, name) + field(2, op) + named + b"".join(attrs))


def _shape(*dims: int) -> bytes:
    return b"".join(field(2, field(1, dim & (1 << 64) - 1)) for dim in dims)


_TYPED = _attr("dtype", field(6, _FLOAT))
_T = _attr("T", field(6, _FLOAT))
_X = _node("x", "Placeholder", (), _TYPED, _attr("shape", field(7, _shape(-1, 4))))


def _weight(dims: Sequence[int] = (4, 4), content: bytes = bytes(64)) -> bytes:
    tensor = field(1, _FLOAT) + field(2, _shape(*dims)) + field(4, content)
    return _node("w", "Const", (), _TYPED, _attr("value", field(8, tensor)))


VARIABLE = _node(
    "v",
    "VarHandleOp",
    (),
    _TYPED,
    _attr("shape", field(7, _shape(4, 4))),
    _attr("shared_name", field(2, "v")),
) + _node("w", "ReadVariableOp", ("v",), _TYPED)


def _signature(name: str = "serving_default") -> bytes:
    def port(slot: int, key: str, tensor: str) -> bytes:
        spec = field(1, tensor) + field(2, _FLOAT) + field(3, _shape(-1, 4))
        return field(slot, field(1, key) + field(2, spec))

    ports = port(1, "x", "x:0") + port(2, "y", "y:0") + field(3, "tensorflow/serving/predict")
    return field(5, field(1, name) + field(2, ports))


def saved_model(
    *nodes: bytes, op: str = "MatMul", signature: bytes | None = None, tag: str = "serve"
) -> bytes:
    """y = x w; by default w is in the file."""
    graph = _X + b"".join(nodes or (_weight(),)) + _node("y", op, ("x", "w"), _T)
    versions = field(4, field(1, 1087))
    meta = field(1, field(4, tag)) + field(2, graph + versions)
    return field(1, 1) + field(2, meta + (_signature() if signature is None else signature))


def _saved(
    content: bytes, variables: Mapping[str, bytes] | None = None
) -> Callable[[Path], object]:
    def write(folder: Path) -> object:
        if variables is not None:
            (folder / "variables").mkdir()
            for name, data in variables.items():
                (folder / "variables" / name).write_bytes(data)
        return (folder / "saved_model.pb").write_bytes(content)

    return write


def _ring(folder: Path) -> None:
    _saved(saved_model(VARIABLE))(folder)
    (folder / "variables").symlink_to("variables")


_INDEX = bytes(64) + _FOOTER
_SHARD = "variables.data-00000-of-00001"


def _elsewhere(folder: Path) -> None:
    """All of its variables are another's."""
    _saved(saved_model(VARIABLE))(folder)
    other = folder.parent / "elsewhere"
    other.mkdir()
    (other / "variables.index").write_bytes(_INDEX)
    (other / _SHARD).write_bytes(bytes(64))
    (folder / "variables").symlink_to(other)


def _data_elsewhere(folder: Path) -> None:
    """Of its variables one file is; and it is not the one it has told of."""
    shard = _SHARD.replace("00001", "00002")
    data = {_SHARD: bytes(64), "variables.index": _INDEX}
    _saved(saved_model(VARIABLE), data)(folder)
    other = folder.parent / "secret"
    other.write_bytes(bytes(64))
    (folder / "variables" / shard).symlink_to(other)


def _pipe(folder: Path) -> None:
    _saved(saved_model(VARIABLE), {"variables.data-00000-of-00001": bytes(64)})(folder)
    os.mkfifo(folder / "variables" / "variables.index")


def tflite(*, buffer: bytes = bytes(16), code: int = 0, shape: Sequence[int] = (1, 4)) -> bytes:
    """y = x + w, with w (1,4) in the file."""
    b = flatbuffers.Builder()

    def vector(values: Sequence[int]) -> int:
        b.StartVector(4, len(values), 4)
        for value in reversed(values):
            b.PrependInt32(value)
        return int(b.EndVector())

    def tables(offsets: Sequence[int]) -> int:
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return int(b.EndVector())

    def table(slots: Mapping[int, int], **numbers: tuple[int, int]) -> int:
        b.StartObject(8)
        for slot, offset in slots.items():
            b.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for kind, (slot, value) in numbers.items():
            getattr(b, f"Prepend{kind}Slot")(slot, value, 0)
        return int(b.EndObject())

    def tensor(name: str, dims: Sequence[int], at: int) -> int:
        return table({0: vector(dims), 3: b.CreateString(name)}, Uint32=(2, at))

    buffers = tables([table({}), table({0: b.CreateByteVector(buffer)})])
    tensors = tables([tensor("x", (1, 4), 0), tensor("w", shape, 1), tensor("y", (1, 4), 0)])
    options = table({})
    operator = table({1: vector([0, 1]), 2: vector([2]), 4: options}, Uint8=(3, 11))
    graph = table({0: tensors, 1: vector([0]), 2: vector([2]), 3: tables([operator])})
    codes = tables([table({}, Int8=(0, min(code, 127)), Int32=(3, code))])
    root = table({1: codes, 2: tables([graph]), 4: buffers}, Uint32=(0, 3))
    b.Finish(root, file_identifier=b"TFL3")
    return bytes(b.Output())


_SAVED, _LITE = saved_model(), tflite()

CASES: tuple[Case, ...] = (
    Case("saved-without-variables", r"variables\.index is missing", _saved(saved_model(VARIABLE))),
    Case(
        "saved-variables-empty", r"variables\.index is missing", _saved(saved_model(VARIABLE), {})
    ),
    Case(
        "saved-without-data",
        r"no variables\.data-\*",
        _saved(saved_model(VARIABLE), {"variables.index": bytes(64) + _FOOTER}),
    ),
    Case(
        "saved-index-noise",
        "cut off or damaged",
        _saved(
            saved_model(VARIABLE),
            {"variables.index": bytes(64), "variables.data-00000-of-00001": bytes(64)},
        ),
    ),
    Case("saved-index-a-pipe", "not a regular file", _pipe),
    Case("saved-variables-elsewhere", r"variables\.index is behind a link", _elsewhere),
    Case("saved-data-elsewhere", "00000-of-00002 is behind a link", _data_elsewhere),
    Case("saved-variables-linked-to-themselves", "symbolic links", _ring),
    Case("saved-halved", "cut off", holding("saved_model.pb", _SAVED[: len(_SAVED) // 2])),
    Case("saved-empty", "is empty", holding("saved_model.pb", b"")),
    Case("saved-page", "HTML", holding("saved_model.pb", b"<html></html>")),
    Case("saved-operator-unknown", "Frobnicate", _saved(saved_model(op="Frobnicate"))),
    Case(
        "saved-weights-declared-terabytes",
        "GiB of memory are free",
        _saved(saved_model(_weight((10**6, 10**6), b""))),
    ),
    Case(
        "saved-weights-short",
        "are 64 bytes, and holds 60",
        _saved(saved_model(_weight((4, 4), bytes(60)))),
    ),
    Case("tflite-halved", "cut off", holding("model.tflite", _LITE[: len(_LITE) // 2])),
    Case("tflite-last-bytes-missing", "cut off", holding("model.tflite", _LITE[:-8])),
    Case(
        "tflite-root-wild",
        "points to byte",
        holding("model.tflite", b"\xf0\xff\xff\x7f" + _LITE[4:]),
    ),
    Case("tflite-root-into-itself", "damaged", holding("model.tflite", b"\0\0\0\0" + _LITE[4:])),
    Case(
        "tflite-other-flatbuffer",
        "not TFLite",
        holding("model.tflite", _LITE.replace(b"TFL3", b"ABCD")),
    ),
    Case("tflite-weights-short", "buffer_size", holding("model.tflite", tflite(buffer=bytes(8)))),
    Case(
        "tflite-weights-declared-terabytes",
        "buffer_size",
        holding("model.tflite", tflite(shape=(10**6, 10**6))),
    ),
    Case("tflite-operator-unknown", "cannot load", holding("model.tflite", tflite(code=9999))),
    Case(
        "tflite-noise",
        "damaged",
        holding("model.tflite", b"\x1c\0\0\0TFL3" + bytes(range(1, 201)) * 10),
    ),
)
