"""TensorFlow Serving over gRPC.

Source: tensorflow_serving/apis/{predict,get_model_metadata,model}.proto,
tensorflow/core/framework/tensor.proto and tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from headrace.load.apis.contract import Api, Inputs, Outputs, Question, Specs, free
from headrace.load.apis.messages import make_classes
from headrace.load.apis.tensorflow import OF_DTYPE, OF_NUMBER
from headrace.load.apis.tensors import from_raw, octets, strings, to_raw
from headrace.load.plan import Message, Protocol
from headrace.load.result import Answer
from headrace.values import Array, DType, TensorSpec

_SERVICE = "/tensorflow.serving.PredictionService"
_FIELD = "signature_def"
DEFAULT_SIGNATURE = "serving_default"
_CLASSES = make_classes(
    "headrace.load.tfserving",
    {
        "Dim": "size:1:int64",
        "Shape": "dim:2:Dim* unknown_rank:3:bool",
        "Tensor": "dtype:1:int32 tensor_shape:2:Shape tensor_content:4:bytes float_val:5:float* "
        "double_val:6:double* int_val:7:int32* string_val:8:bytes* int64_val:10:int64* "
        "bool_val:11:bool* half_val:13:int32* uint32_val:16:uint32* uint64_val:17:uint64*",
        "Named": "key:1:string value:2:Tensor",
        "Spec": "name:1:string signature_name:3:string",
        "Request": "model_spec:1:Spec inputs:2:Named*",
        "Response": "outputs:1:Named*",
        "Asked": "model_spec:1:Spec metadata_field:2:string*",
        "Any": "type_url:1:string value:2:bytes",
        "NamedAny": "key:1:string value:2:Any",
        "Told": "metadata:2:NamedAny*",
        "Info": "name:1:string dtype:2:int32 tensor_shape:3:Shape",
        "NamedInfo": "key:1:string value:2:Info",
        "Signature": "inputs:1:NamedInfo*",
        "NamedSignature": "key:1:string value:2:Signature",
        "Signatures": "signature_def:1:NamedSignature*",
    },
)


def encode(model: str, inputs: Inputs) -> Message:
    """Write a PredictRequest: numbers as the tensor's content, strings in their field."""
    request = _CLASSES["Request"]()
    request.model_spec.name = model
    for name, array in inputs.items():
        tensor = request.inputs.add(key=name).value
        dtype = DType.of(array.dtype)
        tensor.dtype = OF_DTYPE[dtype].number
        tensor.tensor_shape.SetInParent()  # a scalar has a shape too: one of no dimensions
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        if dtype is DType.BYTES:
            tensor.string_val.extend(octets(one) for one in array.reshape(-1))
        else:
            tensor.tensor_content = to_raw(array)
    return Message(request.SerializeToString())


def decode(answer: Answer) -> Outputs:
    """Read a PredictResponse."""
    response = _CLASSES["Response"].FromString(answer.body)
    return {one.key: _array(one.value) for one in response.outputs}


def _array(tensor: Any) -> Array:
    """Read a tensor: its content, or its typed field, whose last value repeats."""
    _, _, dtype, field = OF_NUMBER[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_content:
        return from_raw(dtype, tensor.tensor_content).reshape(shape)
    values = list(getattr(tensor, field))
    if dtype is DType.BYTES:
        flat = strings(values)
    elif field == "half_val":  # the bits of each, as a whole number
        flat = np.array(values, np.uint16).view(dtype.numpy)
    else:
        flat = np.array(values, dtype.numpy)
    missing = math.prod(shape) - len(flat)
    return np.concatenate([flat, np.repeat(flat[-1:], missing)]).reshape(shape)


def ask(model: str) -> Message:
    """Write a GetModelMetadataRequest."""
    request = _CLASSES["Asked"](metadata_field=[_FIELD])
    request.model_spec.name = model
    return Message(request.SerializeToString())


def read_specs(answer: Answer) -> Specs:
    """Read the default signature of a GetModelMetadataResponse."""
    told = {one.key: one.value for one in _CLASSES["Told"].FromString(answer.body).metadata}
    found = _CLASSES["Signatures"].FromString(told[_FIELD].value).signature_def
    signature = {one.key: one.value for one in found}[DEFAULT_SIGNATURE]
    # A map comes in any order; synthetic requests follow it, and shall be the same each time.
    inputs = sorted(signature.inputs, key=lambda one: one.key)
    return tuple(_spec(one.key, one.value) for one in inputs)


def _spec(name: str, info: Any) -> TensorSpec:
    shape = tuple(free(dim.size) for dim in info.tensor_shape.dim)
    return TensorSpec(name, OF_NUMBER[info.dtype].dtype, shape)


API = Api(
    Protocol.GRPC,
    lambda _: f"{_SERVICE}/Predict",
    encode,
    decode,
    (Question(Protocol.GRPC, "POST", lambda _: f"{_SERVICE}/GetModelMetadata", ask, read_specs),),
)
