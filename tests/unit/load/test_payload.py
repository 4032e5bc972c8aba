"""Requests read back, and answers read, by codecs that are not ours."""

from __future__ import annotations

import base64
import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from headrace.load.apis.contract import Outputs
from headrace.load.apis.tensors import from_raw, to_raw
from headrace.load.payload import APIS, make_target
from headrace.load.plan import Protocol
from headrace.load.result import Answer
from headrace.receiver.codecs.protobuf import message
from headrace.receiver.tfserving import tensors
from headrace.values import Array, DType

InferRequest = message("inference.ModelInferRequest")
InferResponse = message("inference.ModelInferResponse")

NUMBERS: list[Array] = [
    np.array([[1.5, -2], [0, 3]], dtype)
    for dtype in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)
]
NUMBERS += [np.array([[1, 2, 3]], f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]
NUMBERS += [np.array([True, False]), np.zeros((0, 4), np.float32), np.array(7.0)]
STRINGS = np.array([[b"caf\xc3\xa9", b""]], object)


def _answer(value: object, **headers: str) -> Answer:
    return Answer(headers, json.dumps(value).encode())


def _same(found: Outputs, expected: dict[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], array) for name, array in expected.items()
    )


@pytest.mark.parametrize("array", [*NUMBERS, STRINGS], ids=lambda a: f"{a.dtype}{a.shape}")
def test_an_oip_request_is_read_by_protobuf_with_the_protocols_own_definition(
    array: Array,
) -> None:
    request = InferRequest.FromString(APIS["oip-grpc"].encode("m", {"x": array}).body)
    assert request.model_name == "m"
    assert [(t.name, tuple(t.shape)) for t in request.inputs] == [("x", array.shape)]
    dtype = DType(request.inputs[0].datatype)
    assert dtype is DType.of(array.dtype)
    np.testing.assert_array_equal(
        from_raw(dtype, request.raw_input_contents[0]).reshape(array.shape), array
    )


def test_raw_strings_have_their_lengths_before_them() -> None:
    assert to_raw(np.array([b"ab", "c"], object)) == b"\x02\0\0\0ab\x01\0\0\0c"
    assert to_raw(np.array(["ab"])) == b"\x02\0\0\0ab"


def test_a_transposed_array_is_written_row_by_row() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert to_raw(array) == np.array([0, 3, 1, 4, 2, 5], np.int32).tobytes()


@pytest.mark.parametrize("array", [*NUMBERS, STRINGS], ids=lambda a: f"{a.dtype}{a.shape}")
def test_a_raw_oip_answer_is_read(array: Array) -> None:
    response = InferResponse(model_name="m", model_version="1", id="7")
    response.parameters["p"].string_param = "skipped"
    for name in ("y", "z"):
        datatype = DType.of(array.dtype).value
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(to_raw(array))
    found = APIS["oip-grpc"].decode(Answer({}, response.SerializeToString()))
    assert _same(found, {"y": array, "z": array})


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("FP32", "fp32_contents", [1.5, 2.5]),
        ("FP64", "fp64_contents", [1.5, 2.5]),
        ("INT8", "int_contents", [-1, 2]),
        ("INT64", "int64_contents", [-1, 2**60]),
        ("UINT16", "uint_contents", [1, 2]),
        ("UINT64", "uint64_contents", [1, 2**63]),
        ("BOOL", "bool_contents", [True, False]),
        ("BYTES", "bytes_contents", [b"a", b"\xff"]),
    ],
)
def test_a_typed_oip_answer_is_read(datatype: str, field: str, values: list[Any]) -> None:
    response = InferResponse()
    tensor = response.outputs.add(name="y", datatype=datatype, shape=[1, 2])
    getattr(tensor.contents, field).extend(values)
    found = APIS["oip-grpc"].decode(Answer({}, response.SerializeToString()))
    assert found["y"].shape == (1, 2)
    assert found["y"].dtype == DType(datatype).numpy
    assert found["y"].ravel().tolist() == values


@pytest.mark.parametrize("array", [*NUMBERS, STRINGS], ids=lambda a: f"{a.dtype}{a.shape}")
def test_an_oip_rest_request_is_a_json_header_and_the_tensors(array: Array) -> None:
    inputs = {"a": array, "b": np.ones((1, 2), np.float32)}
    made = APIS["oip-rest"].encode("m", inputs)
    size = int(dict(made.headers)["inference-header-content-length"])
    head, binary = json.loads(made.body[:size]), made.body[size:]
    assert head["parameters"] == {"binary_data_output": True}
    for tensor in head["inputs"]:
        length = tensor["parameters"]["binary_data_size"]
        flat, binary = from_raw(DType(tensor["datatype"]), binary[:length]), binary[length:]
        np.testing.assert_array_equal(flat.reshape(tensor["shape"]), inputs[tensor["name"]])
    assert binary == b""


def test_an_oip_rest_answer_may_be_binary_json_or_both() -> None:
    outputs: list[dict[str, Any]] = [
        {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
        {"name": "b", "datatype": "INT64", "shape": [1, 2], "data": [3, 4]},
        {"name": "c", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
        {"name": "d", "datatype": "BYTES", "shape": [1], "data": ["hi"]},
    ]
    head = json.dumps({"outputs": outputs}).encode()
    body = head + np.array([1, 2], np.float32).tobytes() + b"\x02\0\0\0yo"
    headers = {"inference-header-content-length": str(len(head))}
    found = APIS["oip-rest"].decode(Answer(headers, body))
    assert _same(found, {"a": [1, 2], "b": [[3, 4]], "c": [b"yo"], "d": [b"hi"]})
    assert _same(APIS["oip-rest"].decode(_answer({"outputs": outputs[1:2]})), {"b": [[3, 4]]})


PredictRequest = message("tensorflow.serving.PredictRequest")
PredictResponse = message("tensorflow.serving.PredictResponse")
_TENSORFLOW = [one for one in [*NUMBERS, STRINGS] if one.size]


@pytest.mark.parametrize("array", _TENSORFLOW, ids=lambda a: f"{a.dtype}{a.shape}")
def test_a_predict_request_is_read_as_tensorflow_serving_reads_it(array: Array) -> None:
    made = APIS["tfs-grpc"].encode("m", {"x": array})
    request = PredictRequest.FromString(made.body)
    assert request.model_spec.name == "m"
    assert request.inputs.keys() == {"x"}
    np.testing.assert_array_equal(tensors.to_array("x", request.inputs["x"]), array)


@pytest.mark.parametrize("array", _TENSORFLOW, ids=lambda a: f"{a.dtype}{a.shape}")
def test_a_predict_answer_is_read_typed_or_as_content(array: Array) -> None:
    response = PredictResponse()
    response.outputs["typed"].MergeFromString(tensors.write_tensor(array))
    if array.dtype != object:
        content = response.outputs["content"]
        content.dtype = tensors.NUMBERS[DType.of(array.dtype)]
        content.tensor_shape.SetInParent()
        for size in array.shape:
            content.tensor_shape.dim.add(size=size)
        content.tensor_content = to_raw(array)
    found = APIS["tfs-grpc"].decode(Answer({}, response.SerializeToString()))
    assert _same(found, dict.fromkeys(response.outputs, array))
    assert {value.dtype for value in found.values()} == {array.dtype}


def test_the_last_value_of_a_predict_answer_repeats() -> None:
    response = PredictResponse()
    tensor = response.outputs["y"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=4)
    tensor.float_val.extend([1.0, 2.0])
    assert _same(
        APIS["tfs-grpc"].decode(Answer({}, response.SerializeToString())), {"y": [1, 2, 2, 2]}
    )


def test_tfserving_rows_are_bare_for_one_input_and_objects_for_several() -> None:
    x, n = np.array([[1, 2], [3, 4]], np.float32), np.array([5, 6])
    encode = APIS["tfs-rest"].encode
    assert json.loads(encode("m", {"x": x}).body) == {"instances": [[1, 2], [3, 4]]}
    assert json.loads(encode("m", {"x": x, "n": n}).body) == {
        "instances": [{"x": [1, 2], "n": 5}, {"x": [3, 4], "n": 6}]
    }


def test_strings_go_through_json_as_base64() -> None:
    coded = [[{"b64": base64.b64encode(one).decode()} for one in STRINGS[0]]]
    assert json.loads(APIS["plain"].encode("m", {"s": STRINGS}).body) == {"input": coded}
    assert json.loads(APIS["tfs-rest"].encode("m", {"s": STRINGS}).body) == {"instances": coded}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"predictions": [[1, 2]]}, {"output": [[1, 2]]}),
        ({"predictions": [{"a": 1, "b": [2]}, {"a": 3, "b": [4]}]}, {"a": [1, 3], "b": [[2], [4]]}),
        ({"outputs": [[1]]}, {"output": [[1]]}),
        ({"outputs": {"a": [1], "b": [2]}}, {"a": [1], "b": [2]}),
    ],
)
def test_tfserving_answers_are_read_in_rows_and_columns(
    body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert _same(APIS["tfs-rest"].decode(_answer(body)), expected)


def test_plain_json_is_a_tensor_or_an_object_of_them() -> None:
    x, n = np.array([[1.5]], np.float32), np.array([2])
    api = APIS["plain"]
    assert json.loads(api.encode("m", {"x": x}).body) == {"input": [[1.5]]}
    assert json.loads(api.encode("m", {"x": x, "n": n}).body) == {"input": {"x": [[1.5]], "n": [2]}}
    assert _same(api.decode(_answer({"output": [[1.5]]})), {"output": [[1.5]]})
    assert _same(api.decode(_answer({"output": {"a": [1], "b": [2]}})), {"a": [1], "b": [2]})


@pytest.mark.parametrize(
    ("api", "protocol", "path"),
    [
        ("oip-grpc", Protocol.GRPC, "/inference.GRPCInferenceService/ModelInfer"),
        ("oip-rest", Protocol.HTTP, "/v2/models/m/infer"),
        ("tfs-grpc", Protocol.GRPC, "/tensorflow.serving.PredictionService/Predict"),
        ("tfs-rest", Protocol.HTTP, "/v1/models/m:predict"),
        ("plain", Protocol.HTTP, "/predict/m"),
    ],
)
def test_a_target_goes_where_its_api_is(api: str, protocol: Protocol, path: str) -> None:
    inputs = [{"x": np.full((1, 2), n, np.float32)} for n in range(3)]
    target = make_target(api, "127.0.0.1:8000", "m", inputs, timeout_s=2.0, keep=1)
    assert (target.protocol, target.path) == (protocol, path)
    assert len({one.body for one in target.messages}) == 3
    assert (target.timeout_s, target.keep) == (2.0, 1)
