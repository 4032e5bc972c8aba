"""The Open Inference Protocol over REST, with binary tensors.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md, and Triton's
extension_binary_data.md.
"""

from __future__ import annotations

from urllib.parse import quote

import orjson

from headrace.load.apis.contract import Api, Inputs, Outputs, Question, Specs, free
from headrace.load.apis.tensors import datatype, from_json, from_raw, loads, to_raw
from headrace.load.plan import Message, Protocol
from headrace.load.result import Answer
from headrace.values import DType, TensorSpec

_LENGTH_HEADER = "inference-header-content-length"


def encode(model: str, inputs: Inputs) -> Message:  # noqa: ARG001 - the path names the model
    """Write the JSON header and after it the tensors, and ask for the same."""
    raw = {name: to_raw(array) for name, array in inputs.items()}
    tensors = [
        {
            "name": name,
            "datatype": datatype(array),
            "shape": array.shape,
            "parameters": {"binary_data_size": len(raw[name])},
        }
        for name, array in inputs.items()
    ]
    head = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    headers = (
        ("content-type", "application/octet-stream"),
        (_LENGTH_HEADER, str(len(head))),
    )
    return Message(b"".join((head, *raw.values())), headers)


def decode(answer: Answer) -> Outputs:
    """Read an answer whose tensors are binary, JSON or both."""
    size = int(answer.headers.get(_LENGTH_HEADER, len(answer.body)))
    document, binary = loads(answer.body[:size]), answer.body[size:]
    outputs, at = {}, 0
    for tensor in document["outputs"]:
        dtype = DType(tensor["datatype"])
        length = tensor.get("parameters", {}).get("binary_data_size")
        if length is None:
            flat = from_json(tensor["data"], dtype).reshape(-1)
        else:
            flat, at = from_raw(dtype, binary[at : at + length]), at + length
        outputs[tensor["name"]] = flat.reshape(tensor["shape"])
    return outputs


def read_specs(answer: Answer) -> Specs:
    """Read a model's metadata."""
    return tuple(
        TensorSpec(one["name"], DType(one["datatype"]), tuple(free(size) for size in one["shape"]))
        for one in orjson.loads(answer.body)["inputs"]
    )


QUESTION = Question(
    Protocol.HTTP,
    "GET",
    lambda model: f"/v2/models/{quote(model, safe='')}",
    lambda _: Message(b""),
    read_specs,
)
API = Api(
    Protocol.HTTP,
    lambda model: f"/v2/models/{quote(model, safe='')}/infer",
    encode,
    decode,
    (QUESTION,),
)
