"""Requests from arrays, and arrays from answers, for every API there is to load.

Encoding happens before a run, never in it. Nothing here is shared with the server's own codecs: a
client that had its mistakes would not notice them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from headrace.load.plan import Message, Protocol, Target
from headrace.load.result import Answer
from headrace.values import Array, DType

Inputs = Mapping[str, Array]
Outputs = dict[str, Array]

UNNAMED = "output"
"""What an answer's only output is called where the protocol does not name it."""
_LENGTH_HEADER = "inference-header-content-length"
_JSON_HEADERS = (("content-type", "application/json"),)

# The part of the Open Inference Protocol's messages that tensors need; the rest is skipped as
# unknown fields are. Names are free in protobuf, numbers and types are the protocol.
_MESSAGES: dict[str, str] = {
    "Contents": "bool_contents:1:bool* int_contents:2:int32* int64_contents:3:int64* "
    "uint_contents:4:uint32* uint64_contents:5:uint64* fp32_contents:6:float* "
    "fp64_contents:7:double* bytes_contents:8:bytes*",
    "Tensor": "name:1:string datatype:2:string shape:3:int64* contents:5:Contents",
    "Wanted": "name:1:string",
    "Request": "model_name:1:string model_version:2:string inputs:5:Tensor* outputs:6:Wanted* "
    "raw_input_contents:7:bytes*",
    "Response": "outputs:5:Tensor* raw_output_contents:6:bytes*",
}


def _classes() -> dict[str, Any]:
    """Make the message classes, in a pool of their own."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="load.proto", package="headrace.load", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            label, number, kind = field.split(":")
            plain = kind.rstrip("*")
            one = message.field.add(name=label, number=int(number))
            one.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            if plain in _MESSAGES:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".headrace.load.{plain}"
            else:
                one.type = kinds.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"headrace.load.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _classes()


@dataclass(frozen=True, slots=True)
class Api:
    """One way to ask a model: how it travels, where it goes, how it is written and read."""

    protocol: Protocol
    path: Callable[[str], str]
    encode: Callable[[str, Inputs], Message]
    decode: Callable[[Answer], Outputs]


def make_target(
    api: str, address: str, model: str, requests: Sequence[Inputs], **options: Any
) -> Target:
    """Make the target that asks a model with these inputs in turn; ``options`` are Target's.

    Raises:
        KeyError: there is no such API in ``APIS``.
    """
    wanted = APIS[api]
    messages = tuple(wanted.encode(model, inputs) for inputs in requests)
    return Target(wanted.protocol, address, wanted.path(model), messages, **options)


# --- Open Inference Protocol, gRPC --------------------------------------------------------------


def oip_grpc(model: str, inputs: Inputs) -> Message:
    """Write a ModelInferRequest with raw contents."""
    request = _CLASSES["Request"](model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=_datatype(array), shape=array.shape)
        request.raw_input_contents.append(to_raw(array))
    return Message(request.SerializeToString())


def read_oip_grpc(answer: Answer) -> Outputs:
    """Read a ModelInferResponse, raw or typed."""
    response = _CLASSES["Response"].FromString(answer.body)
    raw = response.raw_output_contents
    outputs = {}
    for number, tensor in enumerate(response.outputs):
        dtype, shape = DType(tensor.datatype), tuple(tensor.shape)
        flat = from_raw(dtype, raw[number]) if raw else _typed(dtype, tensor.contents)
        outputs[tensor.name] = flat.reshape(shape)
    return outputs


def _typed(dtype: DType, contents: Any) -> Array:
    """Read the one field of typed contents that is filled."""
    for _, values in contents.ListFields():
        return np.array(list(values), dtype.numpy)
    return np.empty(0, dtype.numpy)


# --- Open Inference Protocol, REST with binary tensors --------------------------------------------


def oip_rest(model: str, inputs: Inputs) -> Message:  # noqa: ARG001 - the path names the model
    """Write the JSON header and after it the tensors, and ask for the same."""
    raw = {name: to_raw(array) for name, array in inputs.items()}
    tensors = [
        {
            "name": name,
            "datatype": _datatype(array),
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


def read_oip_rest(answer: Answer) -> Outputs:
    """Read an answer whose tensors are binary, JSON or both."""
    size = int(answer.headers.get(_LENGTH_HEADER, len(answer.body)))
    document, binary = orjson.loads(answer.body[:size]), answer.body[size:]
    outputs, at = {}, 0
    for tensor in document["outputs"]:
        dtype = DType(tensor["datatype"])
        length = tensor.get("parameters", {}).get("binary_data_size")
        if length is None:
            flat = _from_json(tensor["data"], dtype).reshape(-1)
        else:
            flat, at = from_raw(dtype, binary[at : at + length]), at + length
        outputs[tensor["name"]] = flat.reshape(tensor["shape"])
    return outputs


# --- TensorFlow Serving REST and plain JSON -------------------------------------------------------


def tfserving_rest(model: str, inputs: Inputs) -> Message:  # noqa: ARG001 - the path names it
    """Write rows: bare for one input, objects for several."""
    columns = {name: _to_json(array) for name, array in inputs.items()}
    if len(columns) == 1:
        rows = next(iter(columns.values()))
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return Message(orjson.dumps({"instances": rows}), _JSON_HEADERS)


def read_tfserving_rest(answer: Answer) -> Outputs:
    """Read rows or columns."""
    document = orjson.loads(answer.body)
    value = document["predictions"] if "predictions" in document else document["outputs"]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {name: [row[name] for row in value] for name in value[0]}
    return _named(value)


def plain(model: str, inputs: Inputs) -> Message:  # noqa: ARG001 - the path names it
    """Write the tensor, or an object of several."""
    columns = {name: _to_json(array) for name, array in inputs.items()}
    value = next(iter(columns.values())) if len(columns) == 1 else columns
    return Message(orjson.dumps({"input": value}), _JSON_HEADERS)


def read_plain(answer: Answer) -> Outputs:
    """Read the tensor, or an object of several."""
    return _named(orjson.loads(answer.body)["output"])


def _named(value: Any) -> Outputs:
    columns = value if isinstance(value, dict) else {UNNAMED: value}
    return {name: np.array(column) for name, column in columns.items()}


APIS: dict[str, Api] = {
    "oip-grpc": Api(
        Protocol.GRPC,
        lambda _: "/inference.GRPCInferenceService/ModelInfer",
        oip_grpc,
        read_oip_grpc,
    ),
    "oip-rest": Api(
        Protocol.HTTP, lambda model: f"/v2/models/{model}/infer", oip_rest, read_oip_rest
    ),
    "tfserving-rest": Api(
        Protocol.HTTP,
        lambda model: f"/v1/models/{model}:predict",
        tfserving_rest,
        read_tfserving_rest,
    ),
    "predict": Api(Protocol.HTTP, lambda model: f"/predict/{model}", plain, read_plain),
}
"""Every API there is to load, by name."""


# --- tensors --------------------------------------------------------------------------------------


def _datatype(array: Array) -> str:
    return str(DType.of(array.dtype).value)


def to_raw(array: Array) -> bytes:
    """Write a tensor's elements as both binary protocols do; strings each with its length."""
    if DType.of(array.dtype) is not DType.BYTES:
        return np.ascontiguousarray(array).tobytes()
    strings = [_octets(one) for one in array.reshape(-1)]
    return b"".join(len(one).to_bytes(4, "little") + one for one in strings)


def from_raw(dtype: DType, data: bytes) -> Array:
    """Read a flat tensor."""
    if dtype is not DType.BYTES:
        return np.frombuffer(data, dtype.numpy)
    strings = list(_strings(data))
    array = np.empty(len(strings), object)
    array[:] = strings
    return array


def _strings(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        yield data[start:at]


def _octets(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _to_json(array: Array) -> Any:
    if DType.of(array.dtype) is not DType.BYTES:
        return array.tolist()
    coded = [{"b64": base64.b64encode(_octets(one)).decode()} for one in array.reshape(-1)]
    nested = np.empty(len(coded), object)
    nested[:] = coded
    return nested.reshape(array.shape).tolist()


def _from_json(values: Any, dtype: DType) -> Array:
    if dtype is DType.BYTES:
        return np.array([_octets(one) for one in values], object)
    return np.array(values, dtype.numpy)
