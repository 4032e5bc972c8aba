"""TensorFlow Serving's APIs on a real server, request and answer to the byte where clients look."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headrace.receiver.codecs.protobuf import message
from headrace.statuses import GrpcStatus
from tests.contract import codecs
from tests.contract.calls import Answer, Call, plain, post, send, unary
from tests.contract.codecs import TF_PREDICT
from tests.contract.conftest import WEIGHTS
from tests.e2e.server import Server

SERVICE = "/tensorflow.serving.PredictionService"
X = np.array([[1, 2, 3, 4], [0.5, -1, 0, 2]], np.float32)
SCORES = X @ WEIGHTS
NAMES = ["cat", "dog", "fish"]


def ask(server: Server, call: Call) -> Answer:
    return send(server.address, call, timeout_s=30)


def get(server: Server, path: str) -> Answer:
    return ask(server, plain("GET", path))


def examples(x: np.ndarray[Any, Any] = X) -> Any:
    """A ``tensorflow.serving.Input`` of rows of ``x``."""
    source = message("tensorflow.serving.Input")()
    for row in x.tolist():
        feature = source.example_list.examples.add().features.feature["x"]
        feature.float_list.value.extend(row)
    return source


def by_grpc(
    server: Server, method: str, kind: str, model: str, source: Any, **spec: Any
) -> tuple[Answer, Any]:
    """Classify or Regress; the answer as it came, and as a message."""
    request = message(f"tensorflow.serving.{kind}Request")(input=source)
    request.model_spec.name = model
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    answer = ask(server, unary(f"{SERVICE}/{method}", request.SerializeToString()))
    return answer, message(f"tensorflow.serving.{kind}Response").FromString(answer.body)


# -- Classify, Regress, MultiInference -------------------------------------------------------------


def test_classes_are_the_same_in_grpc_and_rest(tf_served: Server) -> None:
    body = {"examples": [{"x": row} for row in X.tolist()]}
    answer = ask(tf_served, post("/v1/models/scores/versions/1:classify", body))
    rows = json.loads(answer.body)["results"]
    assert [[label for label, _ in row] for row in rows] == [NAMES, NAMES]
    np.testing.assert_allclose([[score for _, score in row] for row in rows], SCORES, rtol=1e-5)
    assert answer.body.startswith(b'{\n    "results": [[["cat", ')
    assert answer.body.endswith(b"]]\n    ]\n}")

    _, found = by_grpc(
        tf_served, "Classify", "Classification", "scores", examples(), version_label="stable"
    )
    classes = [[(c.label, c.score) for c in row.classes] for row in found.result.classifications]
    assert classes == [[(label, np.float32(score)) for label, score in row] for row in rows]
    spec = found.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("scores", 1, "serving_default")


def test_regressions_are_the_same_in_grpc_and_rest(tf_served: Server) -> None:
    body = {"examples": [{"x": row} for row in X.tolist()], "signature_name": "serving_default"}
    answer = ask(tf_served, post("/v1/models/value:regress", body))
    assert answer.body == b'{\n    "results": [5.0, 3.75]\n}'
    np.testing.assert_allclose(json.loads(answer.body)["results"], SCORES[:, 0])
    _, found = by_grpc(tf_served, "Regress", "Regression", "value", examples())
    assert [one.value for one in found.result.regressions] == [5.0, 3.75]
    assert found.model_spec.version.value == 1


def both(**more: Any) -> Any:
    """A request of both readings of one run of `both`."""
    request = message("tensorflow.serving.MultiInferenceRequest")()
    for method in ("classify", "regress"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "both"
    context = request.input.example_list_with_context.context.features.feature
    context["a"].float_list.value.extend([1, 2])
    for value in (3, 4):
        example = request.input.example_list_with_context.examples.add()
        example.features.feature["b"].float_list.value.append(value)
    return request


MULTI = f"{SERVICE}/MultiInference"


def test_one_run_is_read_in_several_ways(tf_served: Server) -> None:
    answer = ask(tf_served, unary(MULTI, both().SerializeToString()))
    found = message("tensorflow.serving.MultiInferenceResponse").FromString(answer.body)
    classes, values = found.results
    assert [
        [c.score for c in row.classes] for row in classes.classification_result.classifications
    ] == [[1, 2], [1, 2]]
    assert [one.value for one in values.regression_result.regressions] == [3, 4]
    assert [one.model_spec.version.value for one in found.results] == [1, 1]


def test_several_readings_that_make_no_sense(tf_served: Server) -> None:
    def none(request: Any) -> None:
        del request.tasks[:]

    def other_model(request: Any) -> None:
        request.tasks[1].model_spec.name = "value"

    def no_model(request: Any) -> None:
        request.tasks[1].model_spec.name = ""

    def twice(request: Any) -> None:
        request.tasks[1].method_name = request.tasks[0].method_name

    def other_signature(request: Any) -> None:
        request.tasks[0].model_spec.signature_name = "other"

    def predict(request: Any) -> None:
        request.tasks[0].method_name = "tensorflow/serving/predict"

    for change, status, words in (
        (none, GrpcStatus.INVALID_ARGUMENT, "Missing ModelSpec"),
        (other_model, GrpcStatus.INVALID_ARGUMENT, "must access the same model name"),
        (no_model, GrpcStatus.INVALID_ARGUMENT, "Found ModelSpec with an empty model name"),
        (twice, GrpcStatus.INVALID_ARGUMENT, "Duplicate evaluation of signature: serving_default"),
        (other_signature, GrpcStatus.INVALID_ARGUMENT, "signature not found in model graph: other"),
        (predict, GrpcStatus.UNIMPLEMENTED, "Unsupported signature method_name: .*/predict"),
    ):
        request = both()
        change(request)
        answer = ask(tf_served, unary(MULTI, request.SerializeToString()))
        assert answer.status == status, words
        assert re.search(words, answer.message)


# -- as its documentation asks ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "body", "answer"),
    [
        (
            "predict",
            b'{"instances": [1.0,2.0,5.0]}',
            '{\n    "predictions": [3.5, 4.0, 5.5\n    ]\n}',
        ),
        (
            "predict",
            b'{"signature_name": "serving_default", "instances": [{"x": 1}, {"x": 0.1}]}',
            '{\n    "predictions": [3.5, 3.05\n    ]\n}',
        ),
        (
            "predict",
            b'{"inputs": {"x": [1.0, 2.0]}}',
            '{\n    "outputs": [\n        3.5,\n        4.0\n    ]\n}',
        ),
        (
            "regress",
            b'{"examples": [{"x": 1.0}, {"x": 2.0}]}',
            '{\n    "results": [3.5, 4.0]\n}',
        ),
    ],
)
def test_what_curl_sends_is_answered_to_the_byte(
    tf_served: Server, call: str, body: bytes, answer: str
) -> None:
    path = f"/v1/models/half_plus_three:{call}"
    kind = "application/x-www-form-urlencoded"  # of `curl -d`
    found = ask(tf_served, post(path, body, content_type=kind, user_agent="curl/8.5.0"))
    assert found.body.decode() == answer
    assert found.headers["content-type"] == "application/json"


# -- versions and their labels ---------------------------------------------------------------------


def test_a_label_stands_for_its_version_everywhere(tf_served: Server) -> None:
    body = {"instances": X.tolist()}
    for which, scale in (
        ("/labels/stable", 1),
        ("/Labels/%63anary", 10),
        ("/versions/1", 1),
    ):
        answer = ask(tf_served, post(f"/v1/models/%73cores{which}:predict", body))
        np.testing.assert_allclose(json.loads(answer.body)["predictions"], SCORES * scale, 1e-5)
        path = f"/v1/models/scores{which}"
        (row,) = json.loads(get(tf_served, path).body)["model_version_status"]
        assert row["version"] == ("1" if scale == 1 else "3")
        spec = json.loads(get(tf_served, f"{path}/metadata").body)["model_spec"]
        assert spec["version"] == row["version"]
    request = codecs.predict_request("scores", {"x": X})
    request.model_spec.version_label = "stable"
    answer = ask(tf_served, unary(TF_PREDICT, request.SerializeToString()))
    assert codecs.PredictResponse.FromString(answer.body).model_spec.version.value == 1


def test_an_unknown_label_is_refused_everywhere(tf_served: Server) -> None:
    words = "Unrecognized servable version label: gone"
    for path in ("", "/metadata"):
        answer = get(tf_served, f"/v1/models/scores/labels/gone{path}")
        assert (answer.status, answer.message) == (400, words)
        assert answer.body.decode() == f'{{\n    "error": "{words}"\n}}'
    for method in ("predict", "classify", "regress"):
        answer = ask(tf_served, post(f"/v1/models/scores/labels/gone:{method}", {}))
        assert (answer.status, answer.message) == (400, words)
    answer, _ = by_grpc(
        tf_served, "Classify", "Classification", "scores", examples(), version_label="gone"
    )
    assert (answer.status, answer.message) == (GrpcStatus.INVALID_ARGUMENT, words)


def test_a_signature_has_the_name_of_the_card_in_every_api(tf_served: Server) -> None:
    metadata = get(tf_served, "/v1/models/renamed/metadata")
    signatures = json.loads(metadata.body)["metadata"]["signature_def"]["signature_def"]
    assert list(signatures) == ["predict_images"]
    for name in ("", "predict_images"):
        body = {"signature_name": name, "instances": [1.0]}
        answer = ask(tf_served, post("/v1/models/renamed:predict", body))
        assert json.loads(answer.body)["predictions"] == [3.5]
        _, found = by_grpc(
            tf_served, "Regress", "Regression", "renamed", examples(X[:, :1]), signature_name=name
        )
        assert found.model_spec.signature_name == "predict_images"
        assert [row.value for row in found.result.regressions] == [3.5, 3.25]


def test_another_signature_is_refused_with_the_name_of_the_one_there_is(tf_served: Server) -> None:
    told = "('renamed' has 'predict_images')"
    for call in ("predict", "classify", "regress"):
        body = {"signature_name": "serving_default", "instances": [1.0], "examples": [{"x": 1.0}]}
        answer = ask(tf_served, post(f"/v1/models/renamed:{call}", body))
        assert told in json.loads(answer.body)["error"]
    request = message("tensorflow.serving.MultiInferenceRequest")(input=examples())
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "renamed", "serving_default"
    answer = ask(tf_served, unary(f"{SERVICE}/MultiInference", request.SerializeToString()))
    assert told in answer.message


# -- what is told of models ------------------------------------------------------------------------


STATUS = """{
 "model_version_status": [
  {
   "version": "1",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}
"""
METADATA = """{
"model_spec":{
 "name": "words",
 "signature_name": "",
 "version": "1"
}
,
"metadata": {"signature_def": {
 "signature_def": {
  "serving_default": {
   "inputs": {
    "text": {
     "dtype": "DT_STRING",
     "tensor_shape": {
      "dim": [
       {
        "size": "-1",
        "name": ""
       }
      ],
      "unknown_rank": false
     },
     "name": "text:0"
    }
   },
   "outputs": {
    "text": {
     "dtype": "DT_STRING",
     "tensor_shape": {
      "dim": [
       {
        "size": "-1",
        "name": ""
       }
      ],
      "unknown_rank": false
     },
     "name": "text:0"
    }
   },
   "method_name": "tensorflow/serving/predict",
   "defaults": {}
  }
 }
}
}
}
"""


def test_status_and_metadata_are_printed_as_protobuf_prints_them(tf_served: Server) -> None:
    assert get(tf_served, "/v1/models/words").body.decode() == STATUS
    assert get(tf_served, "/V1/Models/words/Metadata").body.decode() == METADATA


def test_metadata_is_the_same_in_grpc_and_rest(tf_served: Server) -> None:
    request = message("tensorflow.serving.GetModelMetadataRequest")(
        metadata_field=["signature_def"]
    )
    request.model_spec.name = "both"
    call = unary(f"{SERVICE}/GetModelMetadata", request.SerializeToString())
    answer = message("tensorflow.serving.GetModelMetadataResponse").FromString(
        ask(tf_served, call).body
    )
    packed = answer.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = message("tensorflow.serving.SignatureDefMap").FromString(packed.value)
    signature = signatures.signature_def["serving_default"]
    printed = json.loads(get(tf_served, "/v1/models/both/metadata").body)
    rest = printed["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert rest["method_name"] == signature.method_name
    for kind in ("inputs", "outputs"):
        infos = getattr(signature, kind)
        assert {
            name: (info.name, [str(dim.size) for dim in info.tensor_shape.dim])
            for name, info in infos.items()
        } == {
            name: (info["name"], [dim["size"] for dim in info["tensor_shape"]["dim"]])
            for name, info in rest[kind].items()
        }
        assert {info.dtype for info in infos.values()} == {1}


# -- predict ---------------------------------------------------------------------------------------


def test_what_follows_the_first_document_is_not_looked_at(tf_served: Server) -> None:
    body = b' {"instances": [[1, 2, 3, 4]], "more": NaN}{"instances": \xff'
    answer = ask(tf_served, post("/v1/models/value:predict", body))
    assert answer.body == b'{\n    "predictions": [[5.0]\n    ]\n}'
    answer = ask(tf_served, post("/v1/models/value:predict", b'{"instances": [[1, 2]}'))
    assert re.fullmatch(r"JSON Parse error: .* at offset: \d+", answer.message)


def test_columns_the_model_has_no_input_for_are_not_looked_at(tf_served: Server) -> None:
    body = {"inputs": {"x": X[:1].tolist(), "key": ["mine"]}}
    answer = ask(tf_served, post("/v1/models/value:predict", body))
    assert json.loads(answer.body) == {"outputs": [[5.0]]}


def test_fields_of_later_versions_are_taken_and_not_looked_at(tf_served: Server) -> None:
    request = codecs.predict_request("value", {"x": X[:1]}).SerializeToString()
    later = b"\x2a\x04\x08\x01\x18\x01" + b"\x32\x02me" + b"\x3a\x04\x0a\x02me"
    answer = ask(tf_served, unary(TF_PREDICT, request + later))
    (value,) = codecs.PredictResponse.FromString(answer.body).outputs["y"].float_val
    assert value == 5.0


# -- browsers --------------------------------------------------------------------------------------


def test_pages_of_the_origins_named_may_ask_and_no_others(tf_served: Server) -> None:
    def preflight(origin: str) -> Answer:
        path = "/v1/models/value:predict"
        headers = {"access_control_request_method": "POST", "origin": origin}
        return ask(tf_served, plain("OPTIONS", path, **headers))

    answer = preflight("https://shop.example")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-methods"] == "POST, GET, PATCH"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"Content-Type", "X-Grpc-Web", "Grpc-Timeout", "Headrace-Sequence-Id"} <= set(allowed)
    assert "access-control-allow-origin" not in preflight("https://shop.example.evil").headers
    for path in ("/v1/models/value", "/v2/models/value", "/nothing"):
        answer = ask(tf_served, plain("GET", path, origin="https://shop.example"))
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        shown = answer.headers["access-control-expose-headers"].split(", ")
        assert {"Headrace-Error", "Grpc-Status", "Grpc-Message"} <= set(shown)


def test_options_want_an_origin(tf_served: Server, served: Server) -> None:
    for server in (tf_served, served):
        path = "/v1/models/linear"
        answer = ask(server, plain("OPTIONS", path, origin="http://a.example"))
        assert (answer.status, answer.body) == (200, b"")
        assert "access-control-allow-origin" not in answer.headers
        for origin in ({}, {"origin": "null"}):
            answer = ask(server, plain("OPTIONS", path, **origin))
            assert (answer.status, answer.error) == (400, "invalid_argument")


# -- metrics ---------------------------------------------------------------------------------------

PAGE = "/monitoring/prometheus/metrics"


def metric(server: Server, name: str) -> float:
    page = get(server, PAGE).body.decode()
    found = re.search(rf"^{re.escape(f':tensorflow:serving:{name}')} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _predicts_by_rest() -> tuple[Call, Call]:
    path = "/v1/models/words:predict"
    return post(path, {"instances": ["a"]}), post(path, {})


def _predicts_by_grpc() -> tuple[Call, Call]:
    request = codecs.predict_request("words", {"text": np.array([b"a"], object)})
    good = unary(TF_PREDICT, request.SerializeToString())
    request.inputs["text"].dtype = 1
    return good, unary(TF_PREDICT, request.SerializeToString())


def _several_readings() -> tuple[Call, Call]:
    request = both()
    good = unary(MULTI, request.SerializeToString())
    del request.input.example_list_with_context.examples[0].features.feature["b"]
    return good, unary(MULTI, request.SerializeToString())


@pytest.mark.parametrize(
    ("model", "api", "entrypoint", "calls"),
    [
        ("words", "predict", "REST", _predicts_by_rest),
        ("words", "Predict", "GRPC", _predicts_by_grpc),
        ("both", "MultiInference", "GRPC", _several_readings),
    ],
)
def test_requests_are_counted_by_model_api_and_entrypoint(
    tf_served: Server,
    model: str,
    api: str,
    entrypoint: str,
    calls: Callable[[], tuple[Call, Call]],
) -> None:
    labels = f'model_name="{model}",API="{api}",entrypoint="{entrypoint}"'
    counts = (
        f"request_latency_count{{{labels}}}",
        f'request_latency_bucket{{{labels},le="+Inf"}}',
        f'runtime_latency_count{{model_name="{model}",API="{api}",runtime="TF1"}}',
        f'request_count{{model_name="{model}",status="OK"}}',
    )
    refused = f'request_count{{model_name="{model}",status="INVALID_ARGUMENT"}}'
    before = [metric(tf_served, name) for name in (*counts, refused)]
    good, bad = calls()
    assert ask(tf_served, good).error is None
    assert ask(tf_served, bad).error is not None
    for name, count in zip((*counts, refused), before, strict=True):
        assert metric(tf_served, name) == count + 1, name
    assert get(tf_served, PAGE).headers["content-type"] == "text/plain"
