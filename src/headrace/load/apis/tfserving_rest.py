"""TensorFlow Serving over REST: rows.

Source: tensorflow_serving/g3doc/api_rest.md.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from headrace.load.apis.contract import UNNAMED, Api, Inputs, Outputs, Question, Specs, free
from headrace.load.apis.tensorflow import OF_NAME
from headrace.load.apis.tensors import loads, to_json
from headrace.load.apis.tfserving_grpc import DEFAULT_SIGNATURE
from headrace.load.plan import Message, Protocol
from headrace.load.result import Answer
from headrace.values import Array, TensorSpec

JSON_HEADERS = (("content-type", "application/json"),)


def encode(model: str, inputs: Inputs) -> Message:  # noqa: ARG001 - the path names it
    """Write rows: bare for one input, objects for several."""
    columns = {name: to_json(array) for name, array in inputs.items()}
    if len(columns) == 1:
        rows = next(iter(columns.values()))
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return Message(orjson.dumps({"instances": rows}), JSON_HEADERS)


def decode(answer: Answer) -> Outputs:
    """Read rows or columns."""
    document = loads(answer.body)
    value = document["predictions"] if "predictions" in document else document["outputs"]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {name: [row[name] for row in value] for name in value[0]}
    return to_named(value)


def to_named(value: Any) -> Outputs:
    """Name the outputs of an answer that may have but one, without a name."""
    columns = value if isinstance(value, dict) else {UNNAMED: value}
    return {name: _array(column) for name, column in columns.items()}


def _array(column: Any) -> Array:
    try:
        return np.array(column)
    except ValueError:  # rows of several lengths, which JSON may have
        return np.array(column, object)


def read_specs(answer: Answer) -> Specs:
    """Read the default signature; 64-bit numbers are text in protobuf's JSON."""
    found = orjson.loads(answer.body)["metadata"]["signature_def"]["signature_def"]
    inputs = found[DEFAULT_SIGNATURE]["inputs"]
    return tuple(
        TensorSpec(
            name,
            OF_NAME[info["dtype"]].dtype,
            tuple(free(int(dim["size"])) for dim in info["tensor_shape"]["dim"]),
        )
        for name, info in sorted(inputs.items())
    )


def _path(model: str) -> str:
    return f"/v1/models/{quote(model, safe='')}"


QUESTION = Question(
    Protocol.HTTP,
    "GET",
    lambda model: f"{_path(model)}/metadata",
    lambda _: Message(b""),
    read_specs,
)
API = Api(Protocol.HTTP, lambda model: f"{_path(model)}:predict", encode, decode, (QUESTION,))
