"""What a TFLite file says in its signature and its metadata: names of tensors, names of classes.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, tflite_support/metadata_schema.fbs.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import NamedTuple

from headrace.formats.flat import Table

_MODEL, _METADATA = b"TFL3", b"M001"
# Fields by their numbers in the schemas, a line a table.
_SUBGRAPHS, _BUFFERS, _MODEL_METADATA, _SIGNATURES = 2, 4, 6, 7
_TENSORS, _TENSOR_NAME = 0, 3
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _SIGNATURE_SUBGRAPH = 0, 1, 2, 4
_MAP_NAME, _MAP_TENSOR = 0, 1
_BUFFER_DATA = 0
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_SUBGRAPH_METADATA = 3
_OUTPUT_METADATA = 3
_TENSOR_FILES = 6
_FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 0, 2, 3
_AXIS_LABELS = 2

_METADATA_KEY = "TFLITE_METADATA"
_DEFAULT = "serving_default"
_U32, _BYTE = struct.Struct("<I"), struct.Struct("<b")


class Names(NamedTuple):
    """What its signature calls the tensors: by the names that they have in the file."""

    inputs: dict[str, set[str]]
    outputs: dict[str, set[str]]


def names(data: memoryview) -> Names | None:
    """The names of the signature of what is run, which is the first graph; None: it has none.

    Raises:
        ValueError: it is no TFLite file.
    """
    model = Table.root(data, _MODEL)
    graph = next(model.tables(_SUBGRAPHS), None)
    signatures = [
        one for one in model.tables(_SIGNATURES) if not one.number(_SIGNATURE_SUBGRAPH, _U32)
    ]
    named = [one for one in signatures if one.text(_SIGNATURE_KEY) == _DEFAULT] or signatures
    if graph is None or len(named) != 1:
        return None
    tensors = [tensor.text(_TENSOR_NAME) for tensor in graph.tables(_TENSORS)]
    return Names(
        *(_side(named[0], side, tensors) for side in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS))
    )


def _side(signature: Table, side: int, tensors: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in signature.tables(side):
        index = one.number(_MAP_TENSOR, _U32)
        if index >= len(tensors):
            raise ValueError("its signature names a tensor that it does not have")
        found.setdefault(tensors[index], set()).add(one.text(_MAP_NAME))
    return found


def label_file(data: memoryview) -> str | None:
    """The file of class names in the archive behind it; None: there is none, or no single one.

    Raises:
        ValueError: it is no TFLite file.
    """
    model = Table.root(data, _MODEL)
    kept = [
        one for one in model.tables(_MODEL_METADATA) if one.text(_METADATA_NAME) == _METADATA_KEY
    ]
    if len(kept) != 1:
        return None
    place = kept[0].number(_METADATA_BUFFER, _U32)
    buffer = next(islice(model.tables(_BUFFERS), place, None), None)
    if buffer is None:
        return None
    content = buffer.data(_BUFFER_DATA)
    graph = next(Table.root(content, _METADATA).tables(_SUBGRAPH_METADATA), None)
    outputs = () if graph is None else graph.tables(_OUTPUT_METADATA)
    files = (file for output in outputs for file in output.tables(_TENSOR_FILES))
    labels = {
        file.text(_FILE_NAME)
        for file in files
        if file.number(_FILE_TYPE, _BYTE) == _AXIS_LABELS and not file.text(_FILE_LOCALE)
    }
    return labels.pop() if len(labels) == 1 else None
