"""Examples, which are features by name, become a model's inputs: a row an example.

Each input is filled from the feature of its name. The words of what does not fit are those of
TensorFlow's ``ParseExample``.

Source: tensorflow/core/example/{example,feature}.proto, tensorflow_serving/apis/input.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.errors import InvalidInput, MalformedRequest
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.exchange import Exchange
from headrace.receiver.tfserving.tensors import NAMES
from headrace.values import Array, DType, Request, RequestedOutput, Signature, TensorSpec

Features = Mapping[str, Array]
"""One example: flat values by name."""

_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})
_LISTS = {"bytes_list": "string", "float_list": "float", "int64_list": "int64"}


def to_inputs(signature: Signature, examples: Sequence[Features]) -> dict[str, Array]:
    """Stack the features of the examples.

    Raises:
        InvalidInput: a feature is missing, or has another number of values than its input.
    """
    return {spec.name: _stack(spec, examples) for spec in signature.inputs}


def to_request(
    served: ServedModel, exchange: Exchange, examples: Sequence[Features], outputs: Iterable[str]
) -> Request:
    """Make the request for these outputs of these examples.

    Raises:
        InvalidInput: as ``to_inputs``.
    """
    return Request(
        model=served.name,
        version=None,
        inputs=to_inputs(served.signature, examples),
        arrival_s=exchange.arrival_s,
        outputs=tuple(RequestedOutput(name) for name in outputs),
        timeout_s=exchange.timeout_s,
    )


def _stack(spec: TensorSpec, examples: Sequence[Features]) -> Array:
    rows = []
    for example in examples:
        if spec.name not in example:
            raise InvalidInput(
                f"Name: <unknown>, Feature: {spec.name} (data type: {_kind(spec)[1]}) is required "
                "but could not be found."
            )
        rows.append(example[spec.name])
    shape = _item_shape(spec, rows[0].size)
    for index, row in enumerate(rows):
        if row.size != math.prod(shape):
            raise InvalidInput(
                f"Name: <unknown>, Key: {spec.name}, Index: {index}.  Number of {_kind(spec)[1]} "
                f"values != expected.  Values size: {row.size} but output shape: "
                f"[{','.join(map(str, shape))}]"
            )
    return np.stack(rows).reshape(len(rows), *shape)


def _item_shape(spec: TensorSpec, size: int) -> tuple[int, ...]:
    """The shape of one row; a free axis is as long as the first example's values make it."""
    if not spec.shape:
        raise InvalidInput(f"input {spec.name!r} has no axis for examples: use Predict")
    item = spec.shape[1:]
    free = [axis for axis, dim in enumerate(item) if not isinstance(dim, int)]
    if len(free) > 1:
        raise InvalidInput(
            f"input {spec.name!r} has {len(free)} free axes, which the values of a feature do not "
            "tell: use Predict"
        )
    fixed = math.prod(dim for dim in item if isinstance(dim, int))
    length = size // fixed if fixed else 0
    return tuple(dim if isinstance(dim, int) else length for dim in item)


def _kind(spec: TensorSpec) -> tuple[str, str]:
    """The list of a Feature that this input is filled from, and TensorFlow's word for it."""
    if spec.dtype is DType.BYTES:
        field = "bytes_list"
    else:
        field = "float_list" if spec.dtype in _FLOATS else "int64_list"
    return field, _LISTS[field]


# -- gRPC ------------------------------------------------------------------------------------------


def read(signature: Signature, source: Any) -> list[Features]:
    """Read a ``tensorflow.serving.Input``; features that are no inputs are not looked at.

    Raises:
        InvalidInput: it is empty, or a feature is of another kind than its input.
    """
    context: Features = {}
    examples = source.example_list.examples
    if source.WhichOneof("kind") == "example_list_with_context":
        examples = source.example_list_with_context.examples
        context = _example(signature, source.example_list_with_context.context)
    if not examples:
        raise InvalidInput("Input is empty.")
    return [{**context, **_example(signature, example)} for example in examples]


def _example(signature: Signature, example: Any) -> Features:
    features = example.features.feature
    found = {}
    for spec in signature.inputs:
        if spec.name in features:
            feature = features[spec.name]
            kind = feature.WhichOneof("kind")
            if kind is not None:  # a feature without values is one that is not there
                found[spec.name] = _values(spec, kind, feature)
    return found


def _values(spec: TensorSpec, kind: str, feature: Any) -> Array:
    wanted, word = _kind(spec)
    if kind != wanted:
        raise InvalidInput(
            f"Name: <unknown>, Feature: {spec.name}.  Data types don't match. Expected type: "
            f"{word}, got {_LISTS[kind]}: the input is {NAMES[spec.dtype]}"
        )
    values = getattr(feature, kind).value
    if spec.dtype is DType.BYTES:
        strings = np.empty(len(values), object)
        strings[:] = values
        return strings
    if spec.dtype is DType.BOOL:
        return json_tensor.to_tensor(spec.name, list(values), DType.INT64).astype(np.bool_)
    return json_tensor.to_tensor(spec.name, list(values), spec.dtype)


# -- JSON ------------------------------------------------------------------------------------------


def read_json(signature: Signature, body: Mapping[str, Any]) -> list[Features]:
    """Read ``examples`` and ``context`` of a ``:classify`` or ``:regress`` body.

    JSON has no datatypes: its numbers are taken as what the model wants.

    Raises:
        MalformedRequest: there are none, or one is no object.
        InvalidInput: a feature is no value or list of values, or of another kind than its input.
    """
    examples = body.get("examples")
    if "examples" not in body:
        raise MalformedRequest(
            "When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(examples, list):
        raise MalformedRequest("Expecting 'examples' value to be an list/array")
    if not examples:
        raise MalformedRequest("'examples' value is an empty array")
    context = _json_example(signature, body.get("context", {}))
    return [{**context, **_json_example(signature, example)} for example in examples]


def _json_example(signature: Signature, example: Any) -> Features:
    if not isinstance(example, dict):
        raise MalformedRequest(
            f"Example must be JSON object but got JSON {json_tensor.kind(example)}"
        )
    return {
        spec.name: _json_values(spec, example[spec.name])
        for spec in signature.inputs
        if spec.name in example
    }


def _json_values(spec: TensorSpec, value: Any) -> Array:
    values = value if isinstance(value, list) else [value]
    for element in values:
        if element is None or isinstance(element, list):
            raise InvalidInput(
                f"Feature: {spec.name} has element with unexpected JSON type: "
                f"{json_tensor.kind(element)}; give a value or a flat list of values"
            )
    if not values:
        return np.empty(0, spec.dtype.numpy)
    return json_tensor.to_tensor(spec.name, values, spec.dtype)
