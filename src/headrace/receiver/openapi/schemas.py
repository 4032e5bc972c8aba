"""JSON schemas of tensors, and of what the REST protocols put them in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.media import Medium
from headrace.receiver.catalog import ServedModel
from headrace.values import DType, Signature, TensorSpec

Schema = dict[str, Any]

B64: Schema = {
    "type": "object",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
    "additionalProperties": False,
}
# An example of more numbers helps nobody.
_MOST_ELEMENTS = 512


def element(dtype: DType, *, answers: bool = False) -> Schema:
    """One element; in answers, BYTES are text."""
    if dtype is DType.BYTES:
        text: Schema = {"type": "string"}
        return text if answers else {"anyOf": [text, B64]}
    if dtype is DType.BOOL:
        return {"type": "boolean"}
    if dtype.numpy.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    return {"type": "number"}


def nested(inner: Schema, shape: Sequence[Any], *, least: int = 0) -> Schema:
    """Lists in lists: a fixed axis has its length, a free first one at least ``least``."""
    for axis, dim in reversed(list(enumerate(shape))):
        bounds: Schema = {"minItems": dim, "maxItems": dim} if isinstance(dim, int) else {}
        if not bounds and axis == 0 and least:
            bounds = {"minItems": least}
        inner = {"type": "array", "items": inner, **bounds}
    return inner


def tensor(spec: TensorSpec, *, batched: bool = False, answers: bool = False) -> Schema:
    """A tensor as nested lists."""
    return nested(element(spec.dtype, answers=answers), spec.shape, least=int(batched))


def plain_request(served: ServedModel) -> Schema:
    """``input``, ``inputs`` or ``instances``."""
    columns = _columns(served.signature, served.media)
    ways = [_object({"input": columns}), _object({"inputs": columns})]
    ways.append(_object({"instances": _rows(served.signature, served.media)}))
    return {"anyOf": ways}


def plain_answer(served: ServedModel) -> Schema:
    """``output``."""
    return _object({"output": _outputs(served, bytes_as_b64=False)})


def tfserving_request(served: ServedModel) -> Schema:
    """``instances`` or ``inputs``."""
    name: Schema = {"signature_name": {"enum": ["", served.signature_name]}}
    ways = [
        _object({"instances": _rows(served.signature, ())}),
        _object({"inputs": _columns(served.signature, ())}),
    ]
    return {"properties": name, "anyOf": ways}


def tfserving_answer(served: ServedModel) -> Schema:
    """``predictions`` or ``outputs``."""
    row = _all_outputs(served, rows=True)
    return {
        "anyOf": [
            _object({"predictions": {"type": "array", "items": row}}),
            _object({"outputs": _outputs(served, bytes_as_b64=True)}),
        ]
    }


def oip_request(served: ServedModel) -> Schema:
    """The Open Inference Protocol's request, with JSON data."""
    specs = served.signature.inputs
    return _object(
        {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {
                "type": "array",
                "minItems": len(specs),
                "maxItems": len(specs),
                "items": {"anyOf": [_oip_input(spec) for spec in specs]},
            },
            "outputs": {
                "type": "array",
                "items": _object(
                    {
                        "name": {"enum": [spec.name for spec in served.signature.outputs]},
                        "parameters": {"type": "object"},
                    },
                    optional=("parameters",),
                ),
            },
        },
        optional=("id", "parameters", "outputs"),
    )


def oip_answer() -> Schema:
    """The Open Inference Protocol's answer: which outputs depends on the request."""
    output = _object(
        {
            "name": {"type": "string"},
            "datatype": {"enum": [dtype.value for dtype in DType]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
        optional=("data", "parameters"),
    )
    return _object(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": output},
        },
        optional=("id",),
    )


def form(served: ServedModel) -> dict[str, Any]:
    """A form of files, and of the other inputs as JSON."""
    fed = {name for medium in served.media for name in medium.feeds}
    others = [spec for spec in served.signature.inputs if spec.name not in fed]
    file: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties: Schema = {
        medium.name: {"type": "array", "minItems": 1, "items": file} for medium in served.media
    }
    properties |= {spec.name: tensor(spec) for spec in others}
    return {
        "schema": _object(properties),
        "encoding": {spec.name: {"contentType": "application/json"} for spec in others},
    }


def example(served: ServedModel, *, beside_files: bool = False) -> dict[str, Any] | None:
    """A plain request that the model takes; None where it would be long, or is a file.

    ``beside_files``: what is written where files are chosen, each by its name; None where that is
    nothing.
    """
    values: dict[str, Any] = {one.name: "Some text." for one in served.media if one.kind == "text"}
    chosen = beside_files and len(values) < len(served.media)
    fed = {name for one in served.media for name in one.feeds if chosen or one.name in values}
    for spec in served.signature.inputs:
        if spec.name in fed:
            continue
        shape = _example_shape(served, spec)
        if math.prod(shape) > _MOST_ELEMENTS:
            return None
        zero = {"b": False, "O": ""}.get(spec.dtype.numpy.kind, 0)
        values[spec.name] = np.full(shape, zero, object).tolist()
    if not values:
        return None
    return {"input": next(iter(values.values())) if len(values) == 1 and not chosen else values}


def _example_shape(served: ServedModel, spec: TensorSpec) -> tuple[int, ...]:
    """Free axes are as small as the card says that they are padded to, else 1."""
    axes = served.settings.buckets.get(spec.name, {})
    return tuple(
        dim if isinstance(dim, int) else min(axes.get(axis, (1,)))
        for axis, dim in enumerate(spec.shape)
    )


def _object(properties: Schema, *, optional: Sequence[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _columns(signature: Signature, media: Sequence[Medium]) -> Schema:
    """Inputs by name, or the only one bare."""
    named = _inputs(signature, media, rows=False)
    ways = [_object(named)]
    if len(named) == 1:
        ways += named.values()
    return ways[0] if len(ways) == 1 else {"anyOf": ways}


def _rows(signature: Signature, media: Sequence[Medium]) -> Schema:
    named = _inputs(signature, media, rows=True)
    ways = [_object(named), *(named.values() if len(named) == 1 else ())]
    row = ways[0] if len(ways) == 1 else {"anyOf": ways}
    return {"type": "array", "minItems": 1, "items": row}


def _inputs(signature: Signature, media: Sequence[Medium], *, rows: bool) -> dict[str, Schema]:
    """The schema of each input by name; of files too, and of what they feed not where it hides."""
    hidden = {name for one in media for name in one.feeds if one.name != name}
    found = {
        spec.name: _row(spec) if rows else tensor(spec, batched=signature.batched)
        for spec in signature.inputs
        if spec.name not in hidden
    }
    for medium in media:
        file: Schema = {"anyOf": [{"type": "string"}, B64]} if medium.kind == "text" else B64
        ways = [file] if rows else [file, {"type": "array", "minItems": 1, "items": file}]
        if medium.name in found:
            ways.append(found[medium.name])
        found[medium.name] = {"anyOf": ways}
    return found


def _row(spec: TensorSpec) -> Schema:
    return nested(element(spec.dtype), spec.shape[1:])


def _outputs(served: ServedModel, *, bytes_as_b64: bool) -> Schema:
    return _all_outputs(served, rows=False, bytes_as_b64=bytes_as_b64)


def _all_outputs(served: ServedModel, *, rows: bool, bytes_as_b64: bool = True) -> Schema:
    """The only output, or all of them by name."""
    found = {}
    for spec in served.signature.outputs:
        as_b64 = bytes_as_b64 and spec.dtype is DType.BYTES and spec.name.endswith("_bytes")
        inner = B64 if as_b64 else element(spec.dtype, answers=True)
        found[spec.name] = nested(inner, spec.shape[1:] if rows else spec.shape)
    return next(iter(found.values())) if len(found) == 1 else _object(found)


def _oip_input(spec: TensorSpec) -> Schema:
    inner = element(spec.dtype)
    if spec.dtype is DType.BYTES:
        inner = {"type": "string"}
    flat: Schema = {"type": "array", "items": inner}
    return _object(
        {
            "name": {"const": spec.name},
            "datatype": {"const": spec.dtype.value},
            "shape": nested_shape(spec),
            "data": flat if len(spec.shape) == 1 else {"anyOf": [flat, nested(inner, spec.shape)]},
            "parameters": {"type": "object"},
        },
        optional=("parameters",),
    )


def nested_shape(spec: TensorSpec) -> Schema:
    """The ``shape`` of a tensor: as many numbers as it has axes."""
    axes = len(spec.shape)
    sizes: Schema = {"type": "integer", "minimum": 0}
    return {"type": "array", "items": sizes, "minItems": axes, "maxItems": axes}
