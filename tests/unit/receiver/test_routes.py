"""Which path goes where, and what the other paths are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.errors import (
    HeadraceError,
    InvalidArgument,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    RouteNotFound,
    VersionNotFound,
)
from headrace.receiver.routes import _REMEMBERED
from tests.contract.calls import plain
from tests.contract.echo import Echo

ECHO = Echo()


def get(path: str) -> Any:
    return json.loads(ECHO.ask(plain("GET", path)).body)


def test_every_front_has_its_paths() -> None:
    body = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}'
    for path in ("/v2/models/FP32-1/infer", "/v2/models/FP32-1/versions/1/infer"):
        assert json.loads(ECHO.ask(plain("POST", path, body)).body)["model_version"] == "1"
    for path in ("/v1/models/FP32-1:predict", "/V1/Models/FP32-1/versions/1:Predict"):
        answer = ECHO.ask(plain("POST", path, b'{"instances": [1]}'))
        assert json.loads(answer.body) == {"predictions": [1.0]}
    for path in ("/predict/FP32-1", "/predict/FP32-1/versions/1"):
        assert json.loads(ECHO.ask(plain("POST", path, b'{"input": [1]}')).body) == {
            "output": [1.0]
        }
    for path in ("/v1/models/FP32-1", "/v1/models/FP32-1/versions/1"):
        (row,) = json.loads(ECHO.ask(plain("GET", path)).body)["model_version_status"]
        assert (row["version"], row["state"]) == ("1", "AVAILABLE")


def test_health_and_metadata_have_theirs() -> None:
    assert get("/livez") == get("/v2/health/live") == {"live": True}
    assert get("/readyz") == get("/v2/health/ready") == {"ready": True}
    assert get("/v2") == get("/v2/")
    assert get("/v2/models/FP32-1/ready") == {"name": "FP32-1", "ready": True}
    assert get("/v2/models/FP32-1") == get("/v2/models/FP32-1/versions/1")
    assert get("/")["metrics"] == "/metrics"
    assert ECHO.ask(plain("GET", "/metrics")).headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("method", "path", "error", "message"),
    [
        ("GET", "/nowhere", RouteNotFound, "nothing answers GET /nowhere; GET / lists"),
        ("POST", "/v2/models//infer", RouteNotFound, "nothing answers"),
        ("POST", "/v2/models/a/b/infer", RouteNotFound, "nothing answers"),
        ("POST", "/v2/models/FP32-1/versions/one/infer", RouteNotFound, "nothing answers"),
        ("POST", "/v2/models/FP32-1/versions/\u0661/infer", RouteNotFound, "nothing answers"),
        ("POST", "/v2/models/FP32-1/infer/", RouteNotFound, "nothing answers"),
        ("GET", "/V2", RouteNotFound, "nothing answers"),
        ("POST", f"/v2/models/FP32-1/versions/{'9' * 5000}/infer", VersionNotFound, "are numbers"),
        ("POST", f"/predict/FP32-1/versions/{'9' * 19}", VersionNotFound, "are numbers"),
        ("GET", "/v2/models/FP32-1/infer", MethodNotAllowed, "takes POST, not GET"),
        ("POST", "/v2/models/FP32-1", MethodNotAllowed, "takes GET, not POST"),
        ("DELETE", "/", MethodNotAllowed, "takes GET, not DELETE"),
        ("GET", "/predict", MethodNotAllowed, "takes POST, not GET"),
        ("GET", "/v1/models/FP32-1:predict", MalformedRequest, "Malformed request: GET /v1/mod"),
        ("POST", "/v1/models/FP32-1", MalformedRequest, "Malformed request: POST /v1/models/FP32"),
        ("OPTIONS", "/v1/models/FP32-1", InvalidArgument, "Origin header is missing"),
        ("GET", f"/v1/models/FP32-1/versions/{'9' * 19}", MalformedRequest, "Failed to convert"),
        ("GET", "/v1/models/FP32-1/versions/1/labels/a", MalformedRequest, "Malformed request"),
        (
            "GET",
            "/v1/models/FP32-1/labels/a",
            InvalidArgument,
            "Unrecognized servable version label",
        ),
        ("GET", "/V1/Models", MalformedRequest, "Missing model name in request"),
        ("GET", "/v1/models", MalformedRequest, "Missing model name in request"),
        ("POST", "/v1/models/FP32-1:explain", MalformedRequest, "Malformed request: POST /v1/mod"),
        ("GET", "/v1/other", MalformedRequest, "Malformed request: GET /v1/other"),
        ("GET", "/v2/models/nope", ModelNotFound, "unknown model 'nope'"),
        # Envoy has decoded the path; what is still encoded was meant so.
        ("GET", "/v2/models/FP32%2D1", ModelNotFound, "unknown model 'FP32%2D1'"),
        (
            "GET",
            "/v1/models/nope/labels/stable",
            ModelNotFound,
            "not find any versions of model nope",
        ),
    ],
)
def test_other_paths_are_told_why(
    method: str, path: str, error: type[HeadraceError], message: str
) -> None:
    for _ in range(2):  # the second time it might be remembered
        with pytest.raises(error, match=message):
            ECHO.ask(plain(method, path))


def test_a_long_path_is_not_remembered() -> None:
    echo = Echo()
    echo.routes.find("POST", f"/predict/{'m' * 10_000}")
    assert not echo.routes._seen


def test_hostile_variety_of_paths_is_not_remembered_for_ever() -> None:
    echo = Echo()
    for number in range(_REMEMBERED + 100):
        echo.routes.find("GET", f"/v2/models/m{number}")
    assert len(echo.routes._seen) == _REMEMBERED
    assert json.loads(echo.ask(plain("GET", "/v2/models/FP32-1")).body)["name"] == "FP32-1"
