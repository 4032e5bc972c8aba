"""``tensorflow-serving-api``'s stubs with the real TensorFlow, and ``curl`` as its pages use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from tests.conformance.check import Check, World

PREDICTION, MODEL = "PredictionService stub", "ModelService stub"
CURL = "curl"
_TIMEOUT_S = 10.0


def methods() -> dict[str, set[str]]:
    """The methods of both stubs."""
    from tensorflow_serving.apis import (  # noqa: PLC0415 - slow, and only the conformance set-up has it
        model_service_pb2_grpc,
        prediction_service_pb2_grpc,
    )

    with grpc.insecure_channel("localhost:1") as channel:
        return {
            PREDICTION: set(vars(prediction_service_pb2_grpc.PredictionServiceStub(channel))),
            MODEL: set(vars(model_service_pb2_grpc.ModelServiceStub(channel))),
        }


@contextmanager
def _prediction(world: World) -> Iterator[Any]:
    from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: PLC0415 - as above

    with grpc.insecure_channel(world.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@contextmanager
def _models(world: World) -> Iterator[Any]:
    from tensorflow_serving.apis import model_service_pb2_grpc  # noqa: PLC0415 - as above

    with grpc.insecure_channel(world.address) as channel:
        yield model_service_pb2_grpc.ModelServiceStub(channel)


def _predict(world: World) -> None:
    import tensorflow as tf  # noqa: PLC0415 - as above
    from tensorflow_serving.apis import predict_pb2  # noqa: PLC0415 - as above

    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    for version, label, times in ((None, None, 3), (1, None, 1), (None, "canary", 1)):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "linear"
        request.model_spec.signature_name = "serving_default"
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
        request.output_filter.append("y")
        with _prediction(world) as stub:
            answer = stub.Predict(request, _TIMEOUT_S)
        np.testing.assert_allclose(tf.make_ndarray(answer.outputs["y"]), times * x)


def _example(*values: float) -> Any:
    import tensorflow as tf  # noqa: PLC0415 - as above

    feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature}))


def _classify(world: World) -> None:
    from tensorflow_serving.apis import classification_pb2  # noqa: PLC0415 - as above

    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "pets"
    request.input.example_list.examples.extend([_example(1, 2, 3), _example(3, 2, 1)])
    with _prediction(world) as stub:
        answer = stub.Classify(request, _TIMEOUT_S)
    first = answer.result.classifications[0].classes
    assert [(one.label, one.score) for one in first] == [("cat", 1.0), ("dog", 2.0), ("fish", 3.0)]


def _regress(world: World) -> None:
    from tensorflow_serving.apis import regression_pb2  # noqa: PLC0415 - as above

    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "price"
    request.input.example_list.examples.extend([_example(2.5), _example(4)])
    with _prediction(world) as stub:
        answer = stub.Regress(request, _TIMEOUT_S)
    assert [one.value for one in answer.result.regressions] == [2.5, 4.0]


def _multi_inference(world: World) -> None:
    from tensorflow_serving.apis import inference_pb2  # noqa: PLC0415 - as above

    request = inference_pb2.MultiInferenceRequest()
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name = "price"
    request.input.example_list.examples.append(_example(2.5))
    with _prediction(world) as stub:
        answer = stub.MultiInference(request, _TIMEOUT_S)
    assert answer.results[0].regression_result.regressions[0].value == 2.5


def _metadata(world: World) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2  # noqa: PLC0415 - as above

    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "linear"
    request.metadata_field.append("signature_def")
    with _prediction(world) as stub:
        answer = stub.GetModelMetadata(request, _TIMEOUT_S)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert [dim.size for dim in signature.inputs["x"].tensor_shape.dim] == [-1, 4]


def _status(world: World) -> None:
    from tensorflow_serving.apis import get_model_status_pb2  # noqa: PLC0415 - as above

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "linear"
    with _models(world) as stub:
        answer = stub.GetModelStatus(request, _TIMEOUT_S)
    states = get_model_status_pb2.ModelVersionStatus
    found = {row.version: row.state for row in answer.model_version_status}
    assert found == {1: states.AVAILABLE, 3: states.AVAILABLE}


def _reload(world: World) -> None:
    """The same set again: what is there stays, so that the other checks go on."""
    from tensorflow_serving.apis import model_management_pb2  # noqa: PLC0415 - as above

    request = model_management_pb2.ReloadConfigRequest()
    for path in sorted(world.root.iterdir()):
        config = request.config.model_config_list.config.add()
        config.name, config.base_path = path.name, str(path)
        config.model_platform = "tensorflow"
        config.model_version_policy.all.SetInParent()
        if path.name == "linear":
            config.version_labels["canary"] = 1
    with _models(world) as stub:
        answer = stub.HandleReloadConfigRequest(request, 30.0)
    assert answer.status.error_code == 0


def _in_a_thread(run: Callable[[World], None]) -> Callable[[World], Awaitable[None]]:
    return lambda world: asyncio.to_thread(run, world)


async def _curl(world: World, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and what ``curl`` prints; ``-d`` makes it a POST of a form, as the pages use it."""
    data = () if body is None else ("-d", body if isinstance(body, str) else json.dumps(body))
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-w", "\n%{http_code}", *data, f"{world.url}{path}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0
    text, _, status = printed.rpartition(b"\n")
    return int(status), json.loads(text)


def _curls(path: str, body: Any, expected: Any) -> Callable[[World], Awaitable[None]]:
    async def run(world: World) -> None:
        status, found = await _curl(world, path, body)
        assert status == 200, found
        for key, value in expected.items():
            assert found[key] == value, found

    return run


async def _nobody(world: World) -> None:
    status, found = await _curl(world, "/v1/models/nobody:predict", ROW)
    assert status == 404, found
    assert found["error"].startswith("Servable not found for request: Latest(nobody)"), found


ROW = {"instances": [[1.0, 2.0, 5.0, 0.5]]}
STATUS = {"error_code": "OK", "error_message": ""}
_CURLS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "GET /v1/models/M": (
        "/v1/models/spare",
        None,
        {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": STATUS}]},
    ),
    "GET /v1/models/M/versions/V": (
        "/v1/models/linear/versions/1",
        None,
        {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": STATUS}]},
    ),
    "GET /v1/models/M/metadata": (
        "/v1/models/linear/metadata",
        None,
        {"model_spec": {"name": "linear", "signature_name": "", "version": "3"}},
    ),
    "POST /v1/models/M:predict, rows": (
        "/v1/models/linear:predict",
        ROW,
        {"predictions": [[3.0, 6.0, 15.0, 1.5]]},
    ),
    "POST /v1/models/M:predict, columns": (
        "/v1/models/linear:predict",
        {"inputs": {"x": ROW["instances"]}},
        {"outputs": [[3.0, 6.0, 15.0, 1.5]]},
    ),
    "POST /v1/models/M/versions/V:predict": (
        "/v1/models/linear/versions/1:predict",
        {"signature_name": "serving_default", **ROW},
        {"predictions": ROW["instances"]},
    ),
    "POST /v1/models/M/labels/L:predict": (
        "/v1/models/linear/labels/canary:predict",
        ROW,
        {"predictions": ROW["instances"]},
    ),
    "POST /v1/models/M:predict, Infinity": (
        "/v1/models/price:predict",
        '{"instances": [[Infinity], [-Infinity]]}',
        {"predictions": [[float("inf")], [float("-inf")]]},
    ),
    "POST /v1/models/M:classify": (
        "/v1/models/pets:classify",
        {"examples": [{"x": [1.0, 2.0, 3.0]}]},
        {"results": [[["cat", 1.0], ["dog", 2.0], ["fish", 3.0]]]},
    ),
    "POST /v1/models/M:regress": (
        "/v1/models/price:regress",
        {"examples": [{"x": 2.5}, {"x": [4.0]}]},
        {"results": [2.5, 4.0]},
    ),
    "POST /v2/models/M/generate": (
        "/v2/models/echo/generate",
        {"text_input": "hello"},
        {"model_name": "echo", "text_output": "hello"},
    ),
    "POST /predict/M": (
        "/predict/linear",
        {"input": ROW["instances"]},
        {"output": [[3.0, 6.0, 15.0, 1.5]]},
    ),
    "POST /predict": ("/predict", {"input": ROW["instances"]}, {"output": [[3.0, 6.0, 15.0, 1.5]]}),
}

RUNS: dict[tuple[str, str], Callable[[World], Awaitable[None]]] = {
    (PREDICTION, "Predict"): _in_a_thread(_predict),
    (PREDICTION, "Classify"): _in_a_thread(_classify),
    (PREDICTION, "Regress"): _in_a_thread(_regress),
    (PREDICTION, "MultiInference"): _in_a_thread(_multi_inference),
    (PREDICTION, "GetModelMetadata"): _in_a_thread(_metadata),
    (MODEL, "GetModelStatus"): _in_a_thread(_status),
    (MODEL, "HandleReloadConfigRequest"): _in_a_thread(_reload),
    **{(CURL, name): _curls(*how) for name, how in _CURLS.items()},
    (CURL, "POST /v1/models/M:predict, an error"): _nobody,
}


def checks() -> Iterator[Check]:
    """Every method of the stubs, and the requests that TensorFlow Serving's pages show."""
    for (client, method), run in RUNS.items():
        yield Check(client, method, run)
