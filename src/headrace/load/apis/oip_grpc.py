"""The Open Inference Protocol over gRPC, with raw contents.

Source: kserve/open-inference-protocol, specification/protocol/inference_grpc.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace.load.apis.contract import Api, Inputs, Outputs, Question, Specs, free
from headrace.load.apis.messages import make_classes
from headrace.load.apis.tensors import datatype, from_raw, to_raw
from headrace.load.plan import Message, Protocol
from headrace.load.result import Answer
from headrace.values import Array, DType, TensorSpec

_SERVICE = "/inference.GRPCInferenceService"
_CLASSES = make_classes(
    "headrace.load.oip",
    {
        "Contents": "bool_contents:1:bool* int_contents:2:int32* int64_contents:3:int64* "
        "uint_contents:4:uint32* uint64_contents:5:uint64* fp32_contents:6:float* "
        "fp64_contents:7:double* bytes_contents:8:bytes*",
        "Tensor": "name:1:string datatype:2:string shape:3:int64* contents:5:Contents",
        "Wanted": "name:1:string",
        "Request": "model_name:1:string model_version:2:string inputs:5:Tensor* outputs:6:Wanted* "
        "raw_input_contents:7:bytes*",
        "Response": "outputs:5:Tensor* raw_output_contents:6:bytes*",
        "Asked": "name:1:string version:2:string",
        "Told": "name:1:string inputs:4:Tensor*",
    },
)


def encode(model: str, inputs: Inputs) -> Message:
    """Write a ModelInferRequest."""
    request = _CLASSES["Request"](model_name=model)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=datatype(array), shape=array.shape)
        request.raw_input_contents.append(to_raw(array))
    return Message(request.SerializeToString())


def decode(answer: Answer) -> Outputs:
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


def ask(model: str) -> Message:
    """Write a ModelMetadataRequest."""
    return Message(_CLASSES["Asked"](name=model).SerializeToString())


def read_specs(answer: Answer) -> Specs:
    """Read a ModelMetadataResponse."""
    told = _CLASSES["Told"].FromString(answer.body)
    return tuple(
        TensorSpec(one.name, DType(one.datatype), tuple(free(size) for size in one.shape))
        for one in told.inputs
    )


API = Api(
    Protocol.GRPC,
    lambda _: f"{_SERVICE}/ModelInfer",
    encode,
    decode,
    (Question(Protocol.GRPC, "POST", lambda _: f"{_SERVICE}/ModelMetadata", ask, read_specs),),
)
