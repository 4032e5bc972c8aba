"""A sequence goes on where it began, though the newest version takes and answers something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.receiver.codecs.protobuf import message
from tests.e2e.clients import grpc_infer, grpc_request, http
from tests.e2e.models import write_fake
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

DTYPES = {1: "FP32", 2: "INT64"}
ID = "headrace-sequence-id"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("versions")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """`late`, whose scores are the x before, at first 7: fractions in version 1, not in 2."""
    for version, dtype in DTYPES.items():
        write_fake(
            folder / f"models/late/{version}/model.fake",
            inputs={"x": [dtype, [None, 2]], "state": ["FP32", [None, 2]]},
            outputs={"stateN": ["FP32", [None, 2]], "scores": ["FP32", [None, 2]]},
        )
        state = {"input": "state", "output": "stateN", "initial": 7}
        card = {"labels": [f"a{version}", f"b{version}"], "sequence": {"state": [state]}}
        (folder / f"models/late/{version}/card.yaml").write_text(json.dumps(card))
    (folder / "out").mkdir()
    settings = folder / "headrace.yaml"
    settings.write_text("server: {trace_dir: out}\nmodels: [{path: models}]\n")
    with Server("--config", settings) as running:
        yield running


def _start(server: Server, name: str) -> None:
    """Begin on version 1 with [1.5, 2]."""
    headers = {ID: name, "headrace-sequence-start": "true"}
    url = f"{server.url}/predict/late/versions/1"
    assert http(url, {"input": [[1.5, 2]]}, headers)[1] == {"output": [[7, 7]]}


def _state(server: Server, name: str) -> Any:
    """What was sent before."""
    url = f"{server.url}/predict/late/versions/1"
    return http(url, {"input": [[0, 0]]}, {ID: name})[1]["output"]


SCORES = [["a1", 1.5], ["b1", 2.0]]
FRONTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "predict": ("/predict/late", {"input": [[2.5, 3]]}, {"output": [[1.5, 2]]}),
    "tfserving": (
        "/v1/models/late:predict",
        {"instances": [[2.5, 3]]},
        {"predictions": [[1.5, 2.0]]},
    ),
    "classify": (
        "/v1/models/late:classify",
        {"examples": [{"x": [2.5, 3]}]},
        {"results": [SCORES]},
    ),
    "generate": (
        "/v2/models/late/generate",
        {"x": [2.5, 3]},
        {"model_name": "late", "model_version": "1", "scores": [1.5, 2]},
    ),
}


@pytest.mark.parametrize("front", FRONTS)
def test_a_body_is_read_as_the_version_of_its_sequence_takes_it(server: Server, front: str) -> None:
    path, body, answer = FRONTS[front]
    _start(server, front)
    assert http(server.url + path, body, {ID: front})[:2] == (200, answer)
    assert _state(server, front) == [[2.5, 3]]


@pytest.mark.parametrize("nested", [False, True])
def test_generate_reads_its_parameters_first(server: Server, nested: bool) -> None:
    name = f"parameters {nested}"
    _start(server, name)
    call = {"sequence_id": name}
    body = {"x": [2.5, 3], **({"parameters": call} if nested else call)}
    status, answer, _ = http(f"{server.url}/v2/models/late/generate", body)
    assert (status, answer["model_version"], answer["scores"]) == (200, "1", [1.5, 2])


@pytest.mark.parametrize("method", ["classify", "predict"])
def test_a_version_that_is_named_knows_only_its_own(server: Server, method: str) -> None:
    _start(server, method)
    body = FRONTS["classify" if method == "classify" else "tfserving"][1]
    whole = json.loads(json.dumps(body).replace("2.5", "2"))
    url = f"{server.url}/v1/models/late/versions/2:{method}"
    status, _, headers = http(url, whole, {ID: method})
    assert (status, headers["headrace-error"]) == (400, "sequence_not_started")
    assert _state(server, method) == [[1.5, 2]]


def test_classify_over_grpc_says_which_version_answered(server: Server) -> None:
    _start(server, "classify-grpc")
    request = message("tensorflow.serving.ClassificationRequest")()
    request.model_spec.name = "late"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.extend([2.5, 3])
    with grpc.insecure_channel(server.address) as channel:
        classify = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Classify",
            lambda one: one.SerializeToString(),
            message("tensorflow.serving.ClassificationResponse").FromString,
        )
        answer = classify(request, metadata=((ID, "classify-grpc"),), timeout=30)
        classes = answer.result.classifications[0].classes
        assert [[one.label, one.score] for one in classes] == SCORES
        assert answer.model_spec.version.value == 1
        request.model_spec.version.value = 2
        example.features.feature["x"].int64_list.value.extend([2, 3])
        with pytest.raises(grpc.RpcError, match="must specify the START flag"):
            classify(request, metadata=((ID, "classify-grpc"),), timeout=30)


def test_a_trace_says_which_version_answered(server: Server, folder: Path) -> None:
    _start(server, "traced")
    wanted = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_file": "t.json"}
    http(f"{server.url}/v2/trace/setting", wanted)
    with grpc.insecure_channel(server.address) as channel:
        asked = grpc_request("late", np.array([[2.5, 3]], np.float32))
        answer = grpc_infer(channel)(asked, metadata=((ID, "traced"),), timeout=30)
    assert answer.model_version == "1"
    path = folder / "out/t.json"
    heads = json.loads(until(lambda: path.read_text() if path.exists() else ""))
    assert [one["model_version"] for one in heads if "model_name" in one] == [1]
