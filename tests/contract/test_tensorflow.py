"""TensorFlow's own clients, unchanged; only where TensorFlow is installed."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.receiver.tfserving.signature import METHOD
from tests.contract.conftest import WEIGHTS
from tests.e2e.server import Server

if not all(map(importlib.util.find_spec, ("tensorflow", "tensorflow_serving"))):
    pytest.skip("tensorflow-serving-api is not installed", allow_module_level=True)

pytestmark = pytest.mark.slow

X = np.array([[1, 2, 3, 4], [0.5, -1, 0, 2]], np.float32)
SCORES = X @ WEIGHTS
TIMEOUT_S = 30.0


@functools.cache
def theirs() -> Any:
    """TensorFlow as ``tf`` and its clients: imported by these tests only, for it takes seconds."""
    names = (
        "classification_pb2",
        "get_model_metadata_pb2",
        "get_model_status_pb2",
        "inference_pb2",
        "model_service_pb2_grpc",
        "predict_pb2",
        "prediction_service_pb2_grpc",
        "regression_pb2",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, when it is imported
        tf = importlib.import_module("tensorflow")
        apis = {name: importlib.import_module(f"tensorflow_serving.apis.{name}") for name in names}
    return SimpleNamespace(tf=tf, **apis)


@pytest.fixture
def channel(tf_served: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(tf_served.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return theirs().prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(model: str, **inputs: Any) -> Any:
    request = theirs().predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(theirs().tf.make_tensor_proto(value))
    return request


def test_predict(stub: Any) -> None:
    request = predict("scores", x=X)
    response = stub.Predict(request, TIMEOUT_S)
    np.testing.assert_allclose(
        theirs().tf.make_ndarray(response.outputs["y"]), SCORES * 10, rtol=1e-5
    )
    # Many clients read the typed field themselves.
    np.testing.assert_allclose(response.outputs["y"].float_val, (SCORES * 10).ravel(), rtol=1e-5)
    assert response.model_spec.name == "scores"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"


def test_predict_by_version_and_label(stub: Any) -> None:
    for change in ({"version_label": "stable"}, {"version": {"value": 1}}):
        request = predict("scores", x=X)
        request.model_spec.MergeFrom(type(request.model_spec)(**change))
        response = stub.Predict(request, TIMEOUT_S)
        np.testing.assert_allclose(
            theirs().tf.make_ndarray(response.outputs["y"]), SCORES, rtol=1e-5
        )
        assert response.model_spec.version.value == 1


def test_predict_with_an_output_filter_and_the_fields_of_large_models(stub: Any) -> None:
    request = predict("both", a=np.ones((1, 2), np.float32), b=np.ones(1, np.float32))
    request.output_filter.append("value")
    request.predict_streamed_options.split_dimensions["a"] = 1
    request.client_id = b"me"
    request.request_options.max_cache_length = 7
    response = stub.Predict(request, TIMEOUT_S)
    assert list(response.outputs) == ["value"]
    assert theirs().tf.make_ndarray(response.outputs["value"]).tolist() == [1]


def test_predict_with_strings_and_with_values_that_repeat(stub: Any) -> None:
    response = stub.Predict(predict("words", text=["a", "é"]), TIMEOUT_S)
    assert theirs().tf.make_ndarray(response.outputs["text"]).tolist() == [b"a", "é".encode()]
    request = predict("scores")
    request.inputs["x"].CopyFrom(theirs().tf.make_tensor_proto(1.0, shape=[2, 4]))
    assert len(request.inputs["x"].float_val) == 1
    response = stub.Predict(request, TIMEOUT_S)
    np.testing.assert_allclose(
        theirs().tf.make_ndarray(response.outputs["y"]), np.ones((2, 4)) @ WEIGHTS * 10, rtol=1e-5
    )


def examples(*rows: Any, name: str = "x") -> list[Any]:
    def feature(row: Any) -> Any:
        return theirs().tf.train.Feature(float_list=theirs().tf.train.FloatList(value=row))

    return [
        theirs().tf.train.Example(features=theirs().tf.train.Features(feature={name: feature(row)}))
        for row in rows
    ]


def test_classify(stub: Any) -> None:
    request = theirs().classification_pb2.ClassificationRequest()
    request.model_spec.name = "scores"
    request.input.example_list.examples.extend(examples(*X))
    response = stub.Classify(request, TIMEOUT_S)
    for row, scores in zip(response.result.classifications, SCORES * 10, strict=True):
        assert [one.label for one in row.classes] == ["cat", "dog", "fish"]
        np.testing.assert_allclose([one.score for one in row.classes], scores, rtol=1e-5)


def test_regress(stub: Any) -> None:
    request = theirs().regression_pb2.RegressionRequest()
    request.model_spec.name = "value"
    request.input.example_list.examples.extend(examples(*X))
    response = stub.Regress(request, TIMEOUT_S)
    values = [one.value for one in response.result.regressions]
    np.testing.assert_allclose(values, SCORES[:, 0], rtol=1e-5)


def test_multi_inference(stub: Any) -> None:
    request = theirs().inference_pb2.MultiInferenceRequest()
    for method in ("tensorflow/serving/classify", "tensorflow/serving/regress"):
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "both"
    listed = request.input.example_list_with_context
    listed.context.CopyFrom(examples([0.25, 0.75], name="a")[0])
    listed.examples.extend(examples([3], [4], name="b"))
    classes, values = stub.MultiInference(request, TIMEOUT_S).results
    assert [
        [one.score for one in row.classes] for row in classes.classification_result.classifications
    ] == [[0.25, 0.75]] * 2
    assert [one.value for one in values.regression_result.regressions] == [3, 4]


def test_metadata(stub: Any) -> None:
    request = theirs().get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=["signature_def"]
    )
    request.model_spec.name = "scores"
    response = stub.GetModelMetadata(request, TIMEOUT_S)
    signatures = theirs().get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert signature.method_name == METHOD
    info = signature.inputs["x"]
    assert (info.name, theirs().tf.as_dtype(info.dtype)) == ("x:0", theirs().tf.float32)
    assert theirs().tf.TensorShape(info.tensor_shape).as_list() == [None, 4]
    assert theirs().tf.TensorShape(signature.outputs["y"].tensor_shape).as_list() == [None, 3]
    assert response.model_spec.version.value == 3


def test_status(channel: grpc.Channel) -> None:
    stub = theirs().model_service_pb2_grpc.ModelServiceStub(channel)
    request = theirs().get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "scores"
    rows = stub.GetModelStatus(request, TIMEOUT_S).model_version_status
    available = theirs().get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(row.version, row.state) for row in rows] == [(3, available), (1, available)]


def test_errors_are_those_clients_look_for(stub: Any) -> None:
    wrong_signature = predict("scores", x=X)
    wrong_signature.model_spec.signature_name = "other"
    wrong_label = predict("scores", x=X)
    wrong_label.model_spec.version_label = "gone"
    for request, code, words in (
        (predict("nobody", x=X), "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
        (wrong_signature, "FAILED_PRECONDITION", 'Serving signature key "other" not found.'),
        (wrong_label, "INVALID_ARGUMENT", "Unrecognized servable version label: gone"),
        (predict("scores"), "INVALID_ARGUMENT", "input size does not match signature: 0!=1"),
        (
            predict("scores", **{f"input{number:03}": X for number in range(300)}),
            "INVALID_ARGUMENT",
            "...TRUNCATED",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode[code]
        assert words in caught.value.details()


# -- in one process --------------------------------------------------------------------------------

_OURS = "from headrace.receiver.codecs.protobuf import message"
_THEIRS = "import tensorflow as tf\nfrom tensorflow_serving.apis import predict_pb2, input_pb2"
_ROUND_TRIP = """
import numpy as np
from headrace.receiver.tfserving.tensors import to_array, write_tensor

theirs = predict_pb2.PredictRequest()
theirs.model_spec.name = "m"
theirs.model_spec.version.value = 3
theirs.inputs["x"].CopyFrom(tf.make_tensor_proto(np.arange(6, dtype=np.int16).reshape(2, 3)))
ours = message("tensorflow.serving.PredictRequest").FromString(theirs.SerializeToString())
assert (ours.model_spec.name, ours.model_spec.version.value) == ("m", 3)
assert to_array("x", ours.inputs["x"]).tolist() == [[0, 1, 2], [3, 4, 5]]

for dtype in (np.float32, np.float64, np.float16, np.int8, np.uint64, np.bool_, object):
    array = np.array([[b"a"], [b""]] if dtype is object else [[1], [0]], dtype)
    TensorProto = type(theirs.inputs["x"])
    found = tf.make_ndarray(TensorProto.FromString(write_tensor(array)))
    assert found.tolist() == array.tolist(), dtype
    assert found.dtype == array.dtype

example = tf.train.Example(features=tf.train.Features(feature={
    "x": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1, 2**62]))}))
source = input_pb2.Input()
source.example_list.examples.append(example)
ours = message("tensorflow.serving.Input").FromString(source.SerializeToString())
assert list(ours.example_list.examples[0].features.feature["x"].int64_list.value) == [-1, 2**62]
assert input_pb2.Input.FromString(ours.SerializeToString()) == source
"""


@pytest.mark.parametrize("order", [(_OURS, _THEIRS), (_THEIRS, _OURS)], ids=["first", "second"])
def test_our_messages_live_beside_tensorflows(order: tuple[str, str]) -> None:
    program = "\n".join((*order, textwrap.dedent(_ROUND_TRIP)))
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
