"""Plain JSON, ``POST /predict/MODEL``; what a model takes is asked through the other protocols."""

from __future__ import annotations

from urllib.parse import quote

import orjson

from headrace.load.apis import oip_rest, tfserving_rest
from headrace.load.apis.contract import Api, Inputs, Outputs
from headrace.load.apis.tensors import loads, to_json
from headrace.load.apis.tfserving_rest import JSON_HEADERS, to_named
from headrace.load.plan import Message, Protocol
from headrace.load.result import Answer


def encode(model: str, inputs: Inputs) -> Message:  # noqa: ARG001 - the path names it
    """Write the tensor, or an object of several."""
    columns = {name: to_json(array) for name, array in inputs.items()}
    value = next(iter(columns.values())) if len(columns) == 1 else columns
    return Message(orjson.dumps({"input": value}), JSON_HEADERS)


def decode(answer: Answer) -> Outputs:
    """Read the tensor, or an object of several."""
    return to_named(loads(answer.body)["output"])


API = Api(
    Protocol.HTTP,
    lambda model: f"/predict/{quote(model, safe='')}",
    encode,
    decode,
    (oip_rest.QUESTION, tfserving_rest.QUESTION),
)
