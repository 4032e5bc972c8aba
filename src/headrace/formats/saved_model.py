"""The signatures of a TensorFlow SavedModel, and the same file with only one of them, as default.

Source: tensorflow/core/protobuf/{saved_model,meta_graph}.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.formats.wire import fields, inside, tag_of, varint

DEFAULT = "serving_default"
"""The signature that is served where none is named."""

_META_GRAPHS = 2  # of SavedModel
_SIGNATURES = 5  # of MetaGraphDef: a map, which is messages of a key and a value
_KEY, _VALUE = 1, 2
# `__saved_model_init_op` is none that could be served.
_OWN = "__"


def signatures(data: memoryview) -> list[str]:
    """The names of its signatures, sorted.

    Raises:
        ValueError: it is no SavedModel.
    """
    return sorted(
        {
            name
            for graph in inside(data, _META_GRAPHS)
            for entry in inside(graph, _SIGNATURES)
            if not (name := _key(entry)).startswith(_OWN)
        }
    )


def chosen(names: Sequence[str], asked: str | None) -> str:
    """The one to serve: what is asked for, or the only one there is, or the default."""
    return asked or (names[0] if len(names) == 1 else DEFAULT)


def only(data: memoryview, name: str) -> bytes:
    """The same with that signature as the default one, and no other.

    Raises:
        ValueError: it is no SavedModel.
    """
    parts = []
    for tag, start, at, end in fields(data):
        if tag == tag_of(_META_GRAPHS):
            graph = _only(data[at:end], name)
            parts += [varint(tag), varint(sum(map(len, graph))), *graph]
        else:
            parts.append(data[start:end])
    return b"".join(parts)


def _only(graph: memoryview, name: str) -> list[bytes | memoryview]:
    parts: list[bytes | memoryview] = []
    for tag, start, at, end in fields(graph):
        key = _key(graph[at:end]) if tag == tag_of(_SIGNATURES) else _OWN
        if key == name:
            entry = _entry(DEFAULT, graph[at:end])
            parts += [varint(tag), varint(len(entry)), entry]
        elif key.startswith(_OWN):
            parts.append(graph[start:end])
    return parts


def _entry(name: str, entry: memoryview) -> bytes:
    """An entry of the map with another key."""
    value = next(inside(entry, _VALUE), memoryview(b""))
    key = name.encode()
    head = varint(tag_of(_KEY)) + varint(len(key)) + key
    return b"".join((head, varint(tag_of(_VALUE)), varint(len(value)), value))


def _key(entry: memoryview) -> str:
    return bytes(next(inside(entry, _KEY), b"")).decode("utf-8", "replace")
