"""How each front is asked and read: written here by other means than the fronts use."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.receiver.codecs.protobuf import message
from headrace.values import Array, DType
from tests.contract.calls import Answer, Call, post, unary

InferRequest = message("inference.ModelInferRequest")
InferResponse = message("inference.ModelInferResponse")
PredictRequest = message("tensorflow.serving.PredictRequest")
PredictResponse = message("tensorflow.serving.PredictResponse")

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
TF_PREDICT = "/tensorflow.serving.PredictionService/Predict"
LENGTH = "inference-header-content-length"

Arrays = Mapping[str, Array]
DTypes = Mapping[str, DType]

EVERY = tuple(DType)
HALVES = (DType.FP16, DType.BF16)
NO_HALVES = tuple(dtype for dtype in DType if dtype not in HALVES)
NO_BYTES = tuple(dtype for dtype in DType if dtype is not DType.BYTES)


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to send tensors and to read those that come back.

    ``dtypes`` are those it can carry. With ``lists`` the nesting of lists is all it says of shapes,
    and with ``rows`` there is at least one row.
    """

    name: str
    dtypes: tuple[DType, ...]
    encode: Callable[[str, Arrays], Call]
    decode: Callable[[Answer, DTypes], dict[str, Array]]
    lists: bool = False
    rows: bool = False


# -- tensors ---------------------------------------------------------------------------------------


def tensor(dtype: DType, shape: Sequence[int], elements: Iterable[Any]) -> Array:
    """A tensor of Python's own elements."""
    flat = list(elements)
    array = np.empty(len(flat), dtype.numpy)
    array[:] = flat
    return array.reshape(shape)


def elements(array: Array) -> list[Any]:
    """The elements, row-major, as Python's own."""
    found: list[Any] = array.ravel().tolist()
    return found


def raw(array: Array) -> bytes:
    """Little-endian bytes; strings with their lengths before them."""
    if array.dtype != object:
        return array.tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in array.flat)


def of_raw(data: bytes, dtype: DType, shape: Sequence[int]) -> Array:
    """What ``raw`` wrote."""
    if dtype is not DType.BYTES:
        return np.frombuffer(data, dtype.numpy).reshape(shape)
    found = []
    while data:
        end = 4 + struct.unpack("<I", data[:4])[0]
        found.append(data[4:end])
        data = data[end:]
    return tensor(dtype, shape, found)


def lists(array: Array) -> Any:
    """JSON's nested lists, or its scalar; bytes are text."""
    if array.dtype == object:
        array = tensor(DType.BYTES, array.shape, [element.decode() for element in array.flat])
    return array.tolist()


def of_lists(value: Any, dtype: DType, shape: Sequence[int] | None = None) -> Array:
    """What ``lists`` wrote; bytes may come as base64."""
    if dtype is DType.BYTES:
        array = np.asarray(value, object)
        array = tensor(dtype, array.shape, [_of_text(element) for element in array.flat])
    else:
        array = np.array(value, dtype.numpy)
    return array if shape is None else array.reshape(shape)


def _of_text(element: Any) -> bytes:
    if isinstance(element, dict):
        return base64.b64decode(element["b64"])
    encoded: bytes = element.encode()
    return encoded


# -- Open Inference Protocol -----------------------------------------------------------------------

_FIELDS = {
    "bool_contents": [DType.BOOL],
    "int_contents": [DType.INT8, DType.INT16, DType.INT32],
    "int64_contents": [DType.INT64],
    "uint_contents": [DType.UINT8, DType.UINT16, DType.UINT32],
    "uint64_contents": [DType.UINT64],
    "fp32_contents": [DType.FP32],
    "fp64_contents": [DType.FP64],
    "bytes_contents": [DType.BYTES],
}
CONTENTS = {dtype: name for name, dtypes in _FIELDS.items() for dtype in dtypes}
"""Where ModelInfer puts typed elements."""


def infer_request(model: str, arrays: Arrays, *, typed: bool = False) -> Any:
    """A ModelInferRequest; the model may have ``/versions/N`` after its name, as in a path."""
    name, _, version = model.partition("/versions/")
    request = InferRequest(model_name=name, model_version=version)
    for name, array in arrays.items():
        dtype = DType.of(array.dtype)
        row = request.inputs.add(name=name, datatype=dtype.value, shape=array.shape)
        if typed:
            getattr(row.contents, CONTENTS[dtype]).extend(elements(array))
        else:
            request.raw_input_contents.append(raw(array))
    return request


def _oip_grpc(model: str, arrays: Arrays) -> Call:
    return unary(MODEL_INFER, infer_request(model, arrays).SerializeToString())


def _oip_grpc_typed(model: str, arrays: Arrays) -> Call:
    return unary(MODEL_INFER, infer_request(model, arrays, typed=True).SerializeToString())


def _of_oip_grpc(answer: Answer, dtypes: DTypes) -> dict[str, Array]:
    response = InferResponse.FromString(answer.body)
    assert {output.name: DType(output.datatype) for output in response.outputs} == dict(dtypes)
    return {
        output.name: of_raw(data, DType(output.datatype), output.shape)
        for data, output in zip(response.raw_output_contents, response.outputs, strict=True)
    }


def oip_body(arrays: Arrays, *, nested: bool = False) -> dict[str, Any]:
    """The JSON of an inference request."""
    return {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": DType.of(array.dtype).value,
                "data": lists(array if nested else array.ravel()),
            }
            for name, array in arrays.items()
        ]
    }


def _oip_json(model: str, arrays: Arrays) -> Call:
    return post(f"/v2/models/{model}/infer", oip_body(arrays))


def _oip_nested(model: str, arrays: Arrays) -> Call:
    return post(f"/v2/models/{model}/infer", oip_body(arrays, nested=True))


def _of_oip_json(answer: Answer, dtypes: DTypes) -> dict[str, Array]:
    outputs = json.loads(answer.body)["outputs"]
    assert {output["name"]: DType(output["datatype"]) for output in outputs} == dict(dtypes)
    return {
        output["name"]: of_lists(output["data"], DType(output["datatype"]), output["shape"])
        for output in outputs
    }


def binary_call(model: str, head: dict[str, Any], data: bytes) -> Call:
    """An inference request with binary tensors after its JSON."""
    text = json.dumps(head).encode()
    path = f"/v2/models/{model}/infer"
    return Call("http", path, text + data, headers=((LENGTH, str(len(text))),))


def _oip_binary(model: str, arrays: Arrays) -> Call:
    rows = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": DType.of(array.dtype).value,
            "parameters": {"binary_data_size": len(raw(array))},
        }
        for name, array in arrays.items()
    ]
    head = {"inputs": rows, "parameters": {"binary_data_output": True}}
    return binary_call(model, head, b"".join(map(raw, arrays.values())))


def _of_oip_binary(answer: Answer, dtypes: DTypes) -> dict[str, Array]:
    at = int(answer.headers[LENGTH])
    found = {}
    for output in json.loads(answer.body[:at])["outputs"]:
        end = at + output["parameters"]["binary_data_size"]
        dtype = DType(output["datatype"])
        found[output["name"]] = of_raw(answer.body[at:end], dtype, output["shape"])
        at = end
    assert at == len(answer.body)
    assert {name: DType.of(array.dtype) for name, array in found.items()} == dict(dtypes)
    return found


# -- TensorFlow Serving and plain JSON -------------------------------------------------------------

TF_TYPES = {
    DType.FP32: (1, "float_val"),
    DType.FP64: (2, "double_val"),
    DType.INT32: (3, "int_val"),
    DType.UINT8: (4, "int_val"),
    DType.INT16: (5, "int_val"),
    DType.INT8: (6, "int_val"),
    DType.BYTES: (7, "string_val"),
    DType.INT64: (9, "int64_val"),
    DType.BOOL: (10, "bool_val"),
    DType.BF16: (14, "half_val"),
    DType.UINT16: (17, "int_val"),
    DType.FP16: (19, "half_val"),
    DType.UINT32: (22, "uint32_val"),
    DType.UINT64: (23, "uint64_val"),
}
"""TensorFlow's number of a dtype, and where a TensorProto puts its typed elements."""


def predict_request(model: str, arrays: Arrays, *, content: bool = False) -> Any:
    """A PredictRequest; strings are values whichever way."""
    request = PredictRequest()
    request.model_spec.name, _, version = model.partition("/versions/")
    if version:
        request.model_spec.version.value = int(version)
    for name, array in arrays.items():
        proto = request.inputs[name]
        proto.dtype, field = TF_TYPES[DType.of(array.dtype)]
        for size in array.shape:
            proto.tensor_shape.dim.add(size=size)
        if content and array.dtype != object:
            proto.tensor_content = array.tobytes()
        else:
            bits = array.view(np.uint16) if field == "half_val" else array
            getattr(proto, field).extend(elements(bits))
    return request


def _tf_content(model: str, arrays: Arrays) -> Call:
    return unary(TF_PREDICT, predict_request(model, arrays, content=True).SerializeToString())


def _tf_values(model: str, arrays: Arrays) -> Call:
    return unary(TF_PREDICT, predict_request(model, arrays).SerializeToString())


def _of_tf_grpc(answer: Answer, dtypes: DTypes) -> dict[str, Array]:
    response = PredictResponse.FromString(answer.body)
    assert response.outputs.keys() == dtypes.keys()
    return {name: _of_proto(response.outputs[name], dtype) for name, dtype in dtypes.items()}


def _of_proto(proto: Any, dtype: DType) -> Array:
    shape = [dim.size for dim in proto.tensor_shape.dim]
    assert proto.dtype == TF_TYPES[dtype][0]
    if dtype is DType.BYTES:
        return tensor(dtype, shape, proto.string_val)
    assert not proto.tensor_content
    field = TF_TYPES[dtype][1]
    kind = np.uint16 if field == "half_val" else dtype.numpy
    return np.array(getattr(proto, field), kind).view(dtype.numpy).reshape(shape)


def _tf_rows(model: str, arrays: Arrays) -> Call:
    columns = {name: lists(array) for name, array in arrays.items()}
    if len(columns) == 1:
        (rows,) = columns.values()
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return post(f"/v1/models/{model}:predict", {"instances": rows})


def _of_tf_rows(answer: Answer, dtypes: DTypes) -> dict[str, Array]:
    rows = json.loads(answer.body)["predictions"]
    if len(dtypes) == 1:
        return {name: of_lists(rows, dtype) for name, dtype in dtypes.items()}
    assert all(list(row) == list(dtypes) for row in rows)
    return {name: of_lists([row[name] for row in rows], dtype) for name, dtype in dtypes.items()}


def _columns(arrays: Arrays) -> Any:
    columns = {name: lists(array) for name, array in arrays.items()}
    return columns if len(columns) > 1 else next(iter(columns.values()))


def _of_columns(value: Any, dtypes: DTypes) -> dict[str, Array]:
    columns = value if len(dtypes) > 1 else dict.fromkeys(dtypes, value)
    assert list(columns) == list(dtypes)
    return {name: of_lists(columns[name], dtype) for name, dtype in dtypes.items()}


def _tf_columns(model: str, arrays: Arrays) -> Call:
    return post(f"/v1/models/{model}:predict", {"inputs": _columns(arrays)})


def _of_tf_columns(answer: Answer, dtypes: DTypes) -> dict[str, Array]:
    return _of_columns(json.loads(answer.body)["outputs"], dtypes)


def _predict(model: str, arrays: Arrays) -> Call:
    key = "inputs" if len(arrays) > 1 else "input"
    return post(f"/predict/{model}", {key: _columns(arrays)})


def _of_predict(answer: Answer, dtypes: DTypes) -> dict[str, Array]:
    return _of_columns(json.loads(answer.body)["output"], dtypes)


CODECS = (
    Codec("oip-grpc-raw", EVERY, _oip_grpc, _of_oip_grpc),
    Codec("oip-grpc-typed", NO_HALVES, _oip_grpc_typed, _of_oip_grpc),
    Codec("oip-rest-json", NO_HALVES, _oip_json, _of_oip_json),
    Codec("oip-rest-nested", NO_HALVES, _oip_nested, _of_oip_json, lists=True),
    Codec("oip-rest-binary", EVERY, _oip_binary, _of_oip_binary),
    Codec("tfserving-grpc-content", NO_BYTES, _tf_content, _of_tf_grpc),
    Codec("tfserving-grpc-values", EVERY, _tf_values, _of_tf_grpc),
    Codec("tfserving-rest-rows", EVERY, _tf_rows, _of_tf_rows, lists=True, rows=True),
    Codec("tfserving-rest-columns", EVERY, _tf_columns, _of_tf_columns, lists=True),
    Codec("predict", EVERY, _predict, _of_predict, lists=True),
)
