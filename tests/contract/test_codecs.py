"""One suite over every front's codec: the tensors that go in come out."""

from __future__ import annotations

import base64
import json
import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ClientError, InvalidInput, SignatureNotFound
from headrace.receiver.codecs.typed import from_typed
from headrace.receiver.tfserving.tensors import to_array
from headrace.values import Array, DType
from tests.contract import codecs
from tests.contract.calls import Call, post, unary
from tests.contract.codecs import CODECS, HALVES, MODEL_INFER, TF_PREDICT, Codec, tensor
from tests.contract.echo import MOST_AXES, Echo, model_name, output_name
from tests.contract.tensors import STEADY, extremes, not_finite, same, tensors

# One server for all: its templates and its memory of shapes are part of what is tested.
ECHO = Echo()


def through(codec: Codec, array: Array) -> Array:
    """The tensor after a request of it alone."""
    dtype = DType.of(array.dtype)
    answer = ECHO.ask(codec.encode(model_name(dtype, array.ndim), {"x": array}))
    return codec.decode(answer, {output_name(dtype): dtype})[output_name(dtype)]


def each_dtype() -> list[Any]:
    """Every codec with every dtype it carries, as parameters of a test."""
    return [
        pytest.param(codec, dtype, id=f"{codec.name}-{dtype.value}")
        for codec in CODECS
        for dtype in codec.dtypes
    ]


def each_codec() -> list[Any]:
    return [pytest.param(codec, id=codec.name) for codec in CODECS]


@pytest.mark.parametrize(("codec", "dtype"), each_dtype())
def test_extremes_of_every_dtype_come_back(codec: Codec, dtype: DType) -> None:
    array = extremes(dtype)
    for part in (array, array[:1], array):  # another shape, then the first again
        assert same(through(codec, part), part)


FLOATS = [p for p in each_dtype() if p.values[1].numpy.kind in "fV"]


@pytest.mark.parametrize(("codec", "dtype"), FLOATS)
def test_numbers_that_are_not_finite_come_back(codec: Codec, dtype: DType) -> None:
    array = not_finite(dtype)
    assert same(through(codec, array), array)


OF_SCALARS = [p for p in each_dtype() if not p.values[0].rows]


@pytest.mark.parametrize(("codec", "dtype"), OF_SCALARS)
def test_a_scalar_comes_back(codec: Codec, dtype: DType) -> None:
    array = extremes(dtype)[1:, 0].reshape(())
    assert same(through(codec, array), array)


@pytest.mark.parametrize(("codec", "dtype"), OF_SCALARS)
def test_nothing_comes_back_as_nothing(codec: Codec, dtype: DType) -> None:
    for shape in [(0,), (2, 0), (0, 3), (2, 0, 2)]:
        if not codec.lists or 0 not in shape[:-1]:  # an empty list hides the axes in it
            array = np.empty(shape, dtype.numpy)
            for _ in range(2):
                assert same(through(codec, array), array)


@pytest.mark.parametrize("codec", each_codec())
def test_any_tensor_comes_back(codec: Codec) -> None:
    shapes = st.lists(st.integers(0, 3), max_size=MOST_AXES)
    if codec.lists:
        shapes = shapes.filter(lambda shape: 0 not in shape[:-1])
    if codec.rows:
        shapes = shapes.filter(lambda shape: bool(shape) and 0 not in shape)

    @settings(STEADY, max_examples=150)
    @given(tensors(codec.dtypes, shapes))
    def check(array: Array) -> None:
        assert same(through(codec, array), array)

    check()


LEFT = np.array([[1.5, -2], [0, np.inf]], np.float32)
RIGHT = np.array([2**62, -3], np.int64)
TEXT = tensor(DType.BYTES, (2,), [b"one", b""])
PAIR: dict[str, Array] = {"l": LEFT, "r": RIGHT, "t": TEXT}


@pytest.mark.parametrize("codec", each_codec())
@pytest.mark.parametrize("order", [("left", "right", "text"), ("text", "right", "left")])
def test_inputs_are_told_by_name_and_outputs_keep_their_order(
    codec: Codec, order: tuple[str, ...]
) -> None:
    arrays: dict[str, Array] = {"left": LEFT, "right": RIGHT, "text": TEXT}
    answer = ECHO.ask(codec.encode("pair", {name: arrays[name] for name in order}))
    found = codec.decode(answer, {name: DType.of(array.dtype) for name, array in PAIR.items()})
    assert [name for name, array in found.items() if same(array, PAIR[name])] == ["l", "r", "t"]


# -- Open Inference Protocol -----------------------------------------------------------------------


def test_binary_and_json_tensors_may_be_mixed_both_ways() -> None:
    data = {"right": codecs.raw(RIGHT), "text": codecs.raw(TEXT)}
    left = np.array([[1, 2], [3, 4]], np.float32)
    body = codecs.oip_body({"right": RIGHT, "left": left, "text": TEXT})
    for row in body["inputs"]:
        if row["name"] in data:
            del row["data"]
            row["parameters"] = {"binary_data_size": len(data[row["name"]])}
    body["outputs"] = [{"name": "t"}, {"name": "r", "parameters": {"binary_data": True}}]
    answer = ECHO.ask(codecs.binary_call("pair", body, data["right"] + data["text"]))
    size = int(answer.headers[codecs.LENGTH])
    text, right = json.loads(answer.body[:size])["outputs"]
    assert (text["name"], text["data"]) == ("t", ["one", ""])
    assert (right["name"], right["parameters"]) == ("r", {"binary_data_size": 16})
    assert answer.body[size:] == codecs.raw(RIGHT)


def test_infinities_beside_a_binary_tensor_are_written_as_they_are_alone() -> None:
    left = np.array([[np.inf, 2], [np.nan, -np.inf]], np.float32)
    body = codecs.oip_body({"right": RIGHT, "left": left, "text": TEXT})
    body["outputs"] = [{"name": "l"}, {"name": "r", "parameters": {"binary_data": True}}]
    answer = ECHO.ask(codecs.binary_call("pair", body, b""))
    size = int(answer.headers[codecs.LENGTH])
    told = json.loads(answer.body[:size])["outputs"][0]["data"]
    assert np.array_equal(told, left.ravel(), equal_nan=True)


def test_the_id_comes_back_and_so_do_model_and_version() -> None:
    request = codecs.infer_request("FP32-2", {"x": LEFT})
    request.id = "r-17 é"
    response = codecs.InferResponse.FromString(
        ECHO.ask(unary(MODEL_INFER, request.SerializeToString())).body
    )
    assert (response.id, response.model_name, response.model_version) == ("r-17 é", "FP32-2", "1")
    answer = ECHO.ask(
        post("/v2/models/FP32-2/infer", {"id": "r-18", **codecs.oip_body({"x": LEFT})})
    )
    found = json.loads(answer.body)
    assert (found["id"], found["model_name"], found["model_version"]) == ("r-18", "FP32-2", "1")


def test_null_is_what_is_left_out() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2], "parameters": None}
    body = {"id": None, "parameters": None, "inputs": [tensor], "outputs": None}
    answer = json.loads(ECHO.ask(post("/v2/models/FP32-1/infer", body)).body)
    assert "id" not in answer
    assert [one["data"] for one in answer["outputs"]] == [[1, 2]]


def test_half_precision_has_no_typed_contents_and_no_json() -> None:
    for dtype in HALVES:
        request = codecs.infer_request(model_name(dtype, 2), {"x": extremes(dtype)})
        request.ClearField("raw_input_contents")
        with pytest.raises(InvalidInput, match="send it raw"):
            ECHO.ask(unary(MODEL_INFER, request.SerializeToString()))
        body = codecs.oip_body({"x": extremes(dtype)})
        with pytest.raises(InvalidInput, match="cannot be sent as JSON"):
            ECHO.ask(post(f"/v2/models/{model_name(dtype, 2)}/infer", body))


def test_any_other_byte_than_0_is_true() -> None:
    request = codecs.infer_request("BOOL-1", {"x": np.array([True, True, False])})
    request.raw_input_contents[0] = b"\x02\xff\x00"
    answer = ECHO.ask(unary(MODEL_INFER, request.SerializeToString()))
    found = codecs.InferResponse.FromString(answer.body)
    assert found.raw_output_contents[0] == b"\x01\x01\x00"


@pytest.mark.parametrize("name", ["oip-grpc-raw", "oip-rest-binary"])
def test_requests_of_one_length_are_told_apart(name: str) -> None:
    """Fronts remember what requests look like: these look alike to a careless eye."""
    codec = next(codec for codec in CODECS if codec.name == name)
    wide, tall = np.array([[1, 2]], np.float32), np.array([[3], [4]], np.float32)
    double = np.array([[5.5]])
    calls = [codec.encode(model_name(DType.of(a.dtype), 2), {"x": a}) for a in (wide, tall, double)]
    assert len({len(call.body) for call in calls}) == 1
    lookalikes: list[Array] = [wide, tall, double, wide, -wide, double.view(np.int64), -double]
    for array in lookalikes * 2:
        assert same(through(codec, array), array)
    with pytest.raises(InvalidInput, match="unknown input 'y'"):
        ECHO.ask(codec.encode("FP32-2", {"y": wide}))
    assert same(through(codec, wide), wide)


def test_a_message_that_is_scanned_says_what_it_says_parsed() -> None:
    """Large messages are not parsed whole: the same fields must come out of them."""
    array = np.arange(30_000, dtype=np.float32).reshape(100, 300)
    assert same(through(CODECS[0], array), array)
    message = codecs.infer_request("FP32-2", {"x": array}).SerializeToString()
    late = message + codecs.InferRequest(id="late").SerializeToString()
    response = codecs.InferResponse.FromString(ECHO.ask(unary(MODEL_INFER, late)).body)
    assert response.id == "late"
    with pytest.raises(ClientError, match="cut off"):
        ECHO.ask(unary(MODEL_INFER, message[:-1]))


# -- TensorFlow Serving and plain JSON -------------------------------------------------------------


def predict_call(request: Any) -> Call:
    return unary(TF_PREDICT, request.SerializeToString())


@pytest.mark.parametrize("dtype", list(DType), ids=lambda dtype: dtype.value)
def test_the_last_of_too_few_values_repeats(dtype: DType) -> None:
    one = extremes(dtype)[1:, 0]
    request = codecs.predict_request(model_name(dtype, 2), {"x": one.reshape(1, 1)})
    for dim, size in zip(request.inputs["x"].tensor_shape.dim, (2, 3), strict=True):
        dim.size = size
    answer = ECHO.ask(predict_call(request))
    codec = next(codec for codec in CODECS if codec.name == "tfserving-grpc-values")
    found = codec.decode(answer, {output_name(dtype): dtype})[output_name(dtype)]
    assert same(found, one.repeat(6).reshape(2, 3))


TYPED = [codec for codec in CODECS if codec.name in {"oip-grpc-typed", "tfserving-grpc-values"}]


@pytest.mark.parametrize("codec", TYPED, ids=lambda codec: codec.name)
@pytest.mark.parametrize("dtype", [DType.BOOL, DType.FP32, DType.FP64, DType.INT32])
def test_many_typed_elements_come_back(codec: Codec, dtype: DType) -> None:
    for count in (255, 256, 100_000):
        array = (np.arange(count) % 3).astype(dtype.numpy).reshape(1, count)
        assert same(through(codec, array), array)


@pytest.mark.parametrize("dtype", [DType.FP32, DType.FP64])
def test_many_typed_numbers_are_taken_as_they_lie_in_the_message(dtype: DType) -> None:
    """One by one they would take seconds, in which nobody is answered."""
    numbers = np.arange(10**6, dtype=dtype.numpy)
    field = "fp32_contents" if dtype is DType.FP32 else "fp64_contents"
    contents = codecs.InferRequest().inputs.add().contents
    contents.MergeFromString(b"\xfa\x01\x01a" * 3)  # fields that we do not know
    getattr(contents, field).extend(numbers)
    proto = codecs.predict_request("FP32-1", {"x": numbers}).inputs["x"]
    for read in (
        partial(from_typed, "x", dtype, numbers.shape, contents),
        partial(to_array, "x", proto),
    ):
        tracemalloc.start()
        found = read()
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert same(found, numbers)
        assert peak_bytes < 1.5 * numbers.nbytes


@pytest.mark.parametrize("dtype", codecs.EVERY)
def test_without_any_value_all_are_the_default(dtype: DType) -> None:
    request = codecs.predict_request(model_name(dtype, 2), {"x": np.empty((0, 0), dtype.numpy)})
    for dim, size in zip(request.inputs["x"].tensor_shape.dim, (2, 3), strict=True):
        dim.size = size
    answer = ECHO.ask(predict_call(request))
    codec = next(codec for codec in CODECS if codec.name == "tfserving-grpc-values")
    found = codec.decode(answer, {output_name(dtype): dtype})[output_name(dtype)]
    assert found.tolist() == [[b"" if dtype is DType.BYTES else 0] * 3] * 2


def test_a_few_bytes_do_not_become_gigabytes() -> None:
    request = codecs.predict_request("FP32-2", {"x": np.ones((1, 1), np.float32)})
    rows, _ = request.inputs["x"].tensor_shape.dim
    rows.size = 2**31
    with pytest.raises(InvalidInput, match="1 values for 2147483648 elements"):
        ECHO.ask(predict_call(request))
    rows.size = 2**20
    for number in range(1000):
        request.inputs[f"more{number}"].CopyFrom(request.inputs["x"])
    with pytest.raises(
        InvalidInput, match=r"input size does not match signature: 1001!=1 len\(\{more0"
    ):
        ECHO.ask(predict_call(request))


def test_strings_have_no_tensor_content() -> None:
    request = codecs.predict_request("BYTES-2", {"x": extremes(DType.BYTES)})
    request.inputs["x"].tensor_content = b"abc"
    with pytest.raises(InvalidInput, match="string_val"):
        ECHO.ask(predict_call(request))


def test_predict_answers_with_the_model_it_ran() -> None:
    request = codecs.predict_request("FP32-2", {"x": LEFT})
    request.model_spec.signature_name = "serving_default"
    request.model_spec.version.value = 1
    response = codecs.PredictResponse.FromString(ECHO.ask(predict_call(request)).body)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("FP32-2", 1, "serving_default")


def test_an_unknown_signature_is_named_in_tensorflow_servings_words() -> None:
    request = codecs.predict_request("FP32-2", {"x": LEFT})
    request.model_spec.signature_name = "other"
    with pytest.raises(SignatureNotFound, match='Serving signature key "other" not found'):
        ECHO.ask(predict_call(request))
    body = {"signature_name": "other", "instances": [1]}
    with pytest.raises(SignatureNotFound, match='name: "other" not found in signature def'):
        ECHO.ask(post("/v1/models/FP32-1:predict", body))


def test_bytes_that_are_no_text_travel_as_base64() -> None:
    data = bytes(range(256))
    body: Any = {"inputs": [{"b64": base64.b64encode(data).decode()}]}
    answer = json.loads(ECHO.ask(post("/v1/models/BYTES-1:predict", body)).body)
    assert base64.b64decode(answer["outputs"][0]["b64"]) == data
    body = {"instances": [{"b64": ""}, "é"]}
    answer = json.loads(ECHO.ask(post("/v1/models/BYTES-1:predict", body)).body)
    assert answer["predictions"] == [{"b64": ""}, {"b64": "w6k="}]


def test_whole_numbers_are_fractions_too_but_not_the_other_way_round() -> None:
    assert ECHO.ask(post("/predict/FP32-1", {"input": [1, 2]})).body == b'{"output":[1.0,2.0]}'
    with pytest.raises(InvalidInput, match="INT32, the JSON has fractions"):
        ECHO.ask(post("/predict/INT32-1", {"input": [1.0, 2.5]}))


def test_whole_floats_are_written_as_floats() -> None:
    for dtype in (DType.FP16, DType.BF16, DType.FP32, DType.FP64):
        answer = ECHO.ask(post(f"/v1/models/{dtype.value}-1:predict", {"instances": [2, 0.5]}))
        assert answer.body == b'{\n    "predictions": [2.0, 0.5\n    ]\n}'
