"""TFLite files without operators: what surrounds a model, written with FlatBuffers' own builder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers

Write = Callable[[flatbuffers.Builder], int]


def table(builder: flatbuffers.Builder, **fields: Any) -> int:
    """A table of fields ``f0``, ``f1``, ...: offsets, or numbers as (method, number)."""
    builder.StartObject(12)
    for name, value in fields.items():
        slot = int(name[1:])
        if isinstance(value, tuple):
            getattr(builder, f"Prepend{value[0]}Slot")(slot, value[1], 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return int(builder.EndObject())


def vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def tensor_map(builder: flatbuffers.Builder, names: Mapping[str, int]) -> int:
    maps = [
        table(builder, f0=builder.CreateString(name), f1=("Uint32", index))
        for name, index in names.items()
    ]
    return vector(builder, maps)


def metadata(labels: Mapping[str, tuple[int, str]], *, outputs: int = 1, files: int = 1) -> bytes:
    """TFLITE_METADATA: of the one output, files by name: their type and locale.

    Lists lead to it, and it to each of them, so many times.
    """
    builder = flatbuffers.Builder()
    made = []
    for name, (kind, locale) in labels.items():
        fields: dict[str, Any] = {"f0": builder.CreateString(name), "f2": ("Int8", kind)}
        if locale:
            fields["f3"] = builder.CreateString(locale)
        made.append(table(builder, **fields))
    output = table(builder, f6=vector(builder, made * files))
    graph = table(builder, f3=vector(builder, [output] * outputs))
    builder.Finish(table(builder, f3=vector(builder, [graph])), b"M001")
    return bytes(builder.Output())


def model(
    tensors: Sequence[str],
    signatures: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]],
    content: bytes | None = None,
) -> bytes:
    """A file of one graph, with signatures (key → inputs, outputs) and metadata."""
    builder = flatbuffers.Builder()
    made = [table(builder, f3=builder.CreateString(name)) for name in tensors]
    graph = table(builder, f0=vector(builder, made))
    named = [
        table(
            builder,
            f0=tensor_map(builder, inputs),
            f1=tensor_map(builder, outputs),
            f2=builder.CreateString(key),
        )
        for key, (inputs, outputs) in signatures.items()
    ]
    fields = {"f2": vector(builder, [graph]), "f7": vector(builder, named)}
    if content is not None:
        buffers = [table(builder), table(builder, f0=builder.CreateByteVector(content))]
        key = builder.CreateString("TFLITE_METADATA")
        fields["f4"] = vector(builder, buffers)
        fields["f6"] = vector(builder, [table(builder, f0=key, f1=("Uint32", 1))])
    builder.Finish(table(builder, **fields), b"TFL3")
    return bytes(builder.Output())


def with_files(data: bytes, files: Mapping[str, bytes]) -> bytes:
    """The file with an archive behind it."""
    behind = io.BytesIO()
    with zipfile.ZipFile(behind, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data + behind.getvalue()
