"""Decode a whole JSON body, for a process that has the time: the fronts' own functions do it.

Tensors become ``Decoded`` in the places where the fronts look for them, so that a front goes on as
if it had parsed the body itself, and the same mistakes have the same errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.errors import HeadraceError
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


def decode(
    parser: ListParser, body: bytes, dialect: Dialect, signature: Signature | None
) -> dict[str, Any]:
    """Parse a body and decode its tensors.

    Raises:
        MalformedRequest: it is no JSON, or no object.
    """
    tfserving = dialect is Dialect.TFSERVING
    value = parser.parse(body, first_only=dialect in FIRST_ONLY)
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
    for tensor in inputs if isinstance(inputs, list) else ():
        if not isinstance(tensor, dict) or "data" not in tensor:
            continue
        try:
            dtype = read_dtype("", tensor.get("datatype", ""))
        except HeadraceError:
            continue  # its front will say so
        name = tensor.get("name")
        if isinstance(name, str) and dtype not in _NO_JSON:
            tensor["data"] = _decoded(_tensor, name, tensor["data"], dtype)


def _tensor(name: str, value: Any, dtype: DType) -> dict[str, Array]:
    return {name: json_tensor.to_tensor(name, value, dtype)}


def _decoded(make: Callable[..., dict[str, Array]], *arguments: Any) -> Decoded:
    try:
        return Decoded(make(*arguments))
    except HeadraceError as error:
        return Decoded({}, error)
