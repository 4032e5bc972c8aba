"""Examples, which are features by name, become a model's inputs: a row an example.

Each input is filled from the feature of its name. The words of what does not fit are those of
TensorFlow's ``ParseExample``.

Source: tensorflow/core/example/{example,feature}.proto, tensorflow_serving/apis/input.proto.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.errors import InvalidInput, MalformedRequest
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import Decoded
from headrace.receiver.exchange import Exchange
from headrace.receiver.tfserving.tensors import NAMES, check_repeated
from headrace.values import Array, DType, Request, RequestedOutput, Signature, TensorSpec

Values = Sequence[Any]
"""The flat values of one feature of one example."""

_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})
_WHOLE = frozenset(DType) - _FLOATS - {DType.BYTES, DType.BOOL}
_LISTS = {"bytes_list": "string", "float_list": "float", "int64_list": "int64"}


def to_request(
    served: ServedModel,
    exchange: Exchange,
    inputs: Mapping[str, Array],
    outputs: Iterable[str],
    *,
    named: bool,
) -> Request:
    """Make the request for these outputs of the examples that the inputs were read from.

    ``named``: its client has named the version.
    """
    return Request(
        model=served.name,
        version=served.version if named else None,
        inputs=inputs,
        arrival_s=exchange.arrival_s,
        outputs=tuple(RequestedOutput(name) for name in outputs),
        timeout_s=exchange.timeout_s,
    )


def count(inputs: Mapping[str, Array]) -> int:
    """How many examples the inputs were read from."""
    return next(map(len, inputs.values()), 0)


def _stack(
    spec: TensorSpec,
    rows: Sequence[Values | None],
    context: Values | None,
    make: Callable[[TensorSpec, list[Any]], Array],
) -> Array:
    """Make one input: all values at once, and those of the context for who has none of its own."""
    shared = None if context is None else make(spec, list(context))
    own = [index for index, row in enumerate(rows) if row is not None]
    if context is None and len(own) < len(rows):
        raise InvalidInput(
            f"Name: <unknown>, Feature: {spec.name} (data type: {_kind(spec)[1]}) is required "
            "but could not be found."
        )
    sizes = [len((context or ()) if row is None else row) for row in rows]
    shape = _item_shape(spec, sizes[0])
    _check_sizes(spec, sizes, shape)
    flat = [value for row in rows if row is not None for value in row]
    array = make(spec, flat).reshape(len(own), *shape)
    if shared is None or len(own) == len(rows):
        return array
    check_repeated(
        spec.name, shared, len(rows) - len(own), f"{shared.size} of the context, {len(rows)} times"
    )
    whole = np.empty((len(rows), *shape), shared.dtype)
    whole[:] = shared.reshape(shape)
    whole[own] = array
    return whole


def _check_sizes(spec: TensorSpec, sizes: Iterable[int], shape: tuple[int, ...]) -> None:
    expected = math.prod(shape)
    for index, size in enumerate(sizes):
        if size != expected:
            raise InvalidInput(
                f"Name: <unknown>, Key: {spec.name}, Index: {index}.  Number of {_kind(spec)[1]} "
                f"values != expected.  Values size: {size} but output shape: "
                f"[{','.join(map(str, shape))}]"
            )


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


def read(signature: Signature, source: Any) -> dict[str, Array]:
    """Read a ``tensorflow.serving.Input``; features that are no inputs are not looked at.

    Raises:
        InvalidInput: it is empty, or a feature is missing, of another kind than its input, or has
            another number of values.
    """
    context: Mapping[str, Any] = {}
    examples = source.example_list.examples
    if source.WhichOneof("kind") == "example_list_with_context":
        examples = source.example_list_with_context.examples
        context = source.example_list_with_context.context.features.feature
    if not examples:
        raise InvalidInput("Input is empty.")
    found = [example.features.feature for example in examples]
    return {
        spec.name: _stack(
            spec, [_values(spec, one) for one in found], _values(spec, context), _typed
        )
        for spec in signature.inputs
    }


def _values(spec: TensorSpec, features: Mapping[str, Any]) -> Values | None:
    if spec.name not in features:
        return None
    feature = features[spec.name]
    kind = feature.WhichOneof("kind")
    if kind is None:  # a feature without values is one that is not there
        return None
    wanted, word = _kind(spec)
    if kind != wanted:
        raise InvalidInput(
            f"Name: <unknown>, Feature: {spec.name}.  Data types don't match. Expected type: "
            f"{word}, got {_LISTS[kind]}: the input is {NAMES[spec.dtype]}"
        )
    values: Values = getattr(feature, kind).value
    return values


def _typed(spec: TensorSpec, values: list[Any]) -> Array:
    if spec.dtype is DType.BYTES:
        strings = np.empty(len(values), object)
        strings[:] = values
        return strings
    if spec.dtype is DType.BOOL:
        return json_tensor.to_tensor(spec.name, values, DType.INT64).astype(np.bool_)
    return json_tensor.to_tensor(spec.name, values, spec.dtype)


# -- JSON ------------------------------------------------------------------------------------------


def read_json(signature: Signature, body: Mapping[str, Any]) -> dict[str, Array]:
    """Read ``examples`` and ``context`` of a ``:classify`` or ``:regress`` body.

    JSON has no datatypes: its numbers are taken as what the model wants.

    Raises:
        MalformedRequest: there are none, or one is no object.
        InvalidInput: a feature is missing, is no value or list of values, is of another kind than
            its input, or has another number of values.
    """
    examples = body.get("examples")
    if "examples" not in body:
        raise MalformedRequest(
            "When method is classify, key 'examples' is expected and was not found"
        )
    if isinstance(examples, Decoded):
        return examples.take()
    if not isinstance(examples, list | np.ndarray):
        raise MalformedRequest("Expecting 'examples' value to be an list/array")
    if len(examples) == 0:
        raise MalformedRequest("'examples' value is an empty array")
    context = body.get("context", {})
    for one in (context, *examples):
        if not isinstance(one, dict):
            raise MalformedRequest(f"Example must be JSON object but got JSON {_json_kind(one)}")
    return {
        spec.name: _stack(
            spec,
            [_json_values(spec, one) for one in examples],
            _json_values(spec, context),
            _of_json,
        )
        for spec in signature.inputs
    }


def _json_values(spec: TensorSpec, example: Mapping[str, Any]) -> Values | None:
    if spec.name not in example:
        return None
    value = example[spec.name]
    if isinstance(value, np.ndarray):  # of a long list, from the scribe's parser
        value = value.tolist()
    values = value if isinstance(value, list) else [value]
    for element in values:
        if element is None or isinstance(element, list):
            raise InvalidInput(
                f"Feature: {spec.name} has element with unexpected JSON type: "
                f"{json_tensor.kind(element)}; give a value or a flat list of values"
            )
    return values


def _of_json(spec: TensorSpec, values: list[Any]) -> Array:
    if spec.dtype in _WHOLE:  # TensorFlow Serving puts booleans into the same list
        values = [int(value) if isinstance(value, bool) else value for value in values]
    return json_tensor.to_tensor(spec.name, values, spec.dtype)


def _json_kind(value: Any) -> str:
    is_list = isinstance(value, np.ndarray) and value.ndim > 0
    return json_tensor.kind([] if is_list else value)
