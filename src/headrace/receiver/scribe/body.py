"""Decode a whole JSON body, for a process that has the time: the fronts' own functions do it.

Tensors become ``Decoded`` in the places where the fronts look for them, so that a front goes on as
if it had parsed the body itself, and the same mistakes have the same errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.errors import HeadraceError, InvalidInput
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import FIRST_ONLY, Decoded, Dialect
from headrace.receiver.codecs.tensors import read_dtype
from headrace.receiver.scribe.lists import ListParser
from headrace.receiver.tfserving import examples as tfserving_examples
from headrace.receiver.tfserving import rest as tfserving_rest
from headrace.values import Array, DType, Signature

# What the plain front calls columns.
_COLUMNS = {"instances": "instances", "inputs": "inputs", "input": "inputs"}
_NO_JSON = (DType.FP16, DType.BF16)
# What a front looks at; the rest of a body stays here, for the receiver would parse it again.
_READ = {
    Dialect.TFSERVING: frozenset({"signature_name", "instances", "inputs"}),
    Dialect.EXAMPLES: frozenset({"signature_name", "examples", "context"}),
    Dialect.PLAIN: frozenset(_COLUMNS),
    Dialect.OIP: frozenset({"id", "parameters", "inputs", "outputs"}),
}
MOST_TENSORS = 1024
"""Tensors in one body: each costs the event loop some 40 us, however small it is."""


def decode(
    parser: ListParser, body: bytes, dialect: Dialect, signature: Signature | None
) -> dict[str, Any]:
    """Parse a body and decode its tensors.

    Raises:
        MalformedRequest: it is no JSON, or no object.
        InvalidInput: more tensors than there may be.
    """
    tfserving = dialect is Dialect.TFSERVING
    parsed = parser.parse(body, first_only=dialect in FIRST_ONLY)
    value = {key: parsed[key] for key in parsed.keys() & _READ[dialect]}
    if dialect is Dialect.OIP or signature is None:
        _tensors(value.get("inputs"))
        return value
    if dialect is Dialect.EXAMPLES:
        if "examples" in value:
            value["examples"] = _decoded(tfserving_examples.read_json, signature, dict(value))
        value.pop("context", None)
        return value
    for key in _COLUMNS.keys() & value.keys():
        value[key] = _decoded(_read, {_COLUMNS[key]: value[key]}, signature, tfserving)
    return value


def _read(body: dict[str, Any], signature: Signature, tfserving: bool) -> dict[str, Array]:
    return tfserving_rest.decode(body, signature, extra_columns=tfserving)[0]


def _tensors(inputs: Any) -> None:
    tensors = inputs if isinstance(inputs, list) else []
    if len(tensors) > MOST_TENSORS:
        raise InvalidInput(
            f"the request has {len(tensors)} tensors in JSON: send at most {MOST_TENSORS} at once"
        )
    for tensor in tensors:
        if isinstance(tensor, dict) and "data" in tensor:
            tensor["data"] = _data(tensor)


def _data(tensor: dict[str, Any]) -> Decoded | None:
    """None for what its front refuses whatever the data is: it does not travel back."""
    name = tensor.get("name")
    try:
        dtype = read_dtype("", tensor.get("datatype", ""))
    except HeadraceError:
        return None
    if not isinstance(name, str) or dtype in _NO_JSON:
        return None
    return _decoded(_tensor, name, tensor["data"], dtype)


def _tensor(name: str, value: Any, dtype: DType) -> dict[str, Array]:
    return {name: json_tensor.to_tensor(name, value, dtype)}


def _decoded(make: Callable[..., dict[str, Array]], *arguments: Any) -> Decoded:
    try:
        return Decoded(make(*arguments))
    except HeadraceError as error:
        return Decoded({}, error)
