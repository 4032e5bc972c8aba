"""HandleReloadConfigRequest replaces the set of models that are served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from headrace.receiver.codecs.protobuf import message
from tests.contract.calls import plain, send
from tests.e2e.clients import http
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server

pytestmark = pytest.mark.slow

Request = message("tensorflow.serving.ReloadConfigRequest")
Response = message("tensorflow.serving.ReloadConfigResponse")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reload")
    for version in (1, 2, 3):
        write_linear(root / f"linear/{version}/model.onnx", float(version))
    write_linear(root / "other/1/model.onnx", 1.0)
    return root


@pytest.fixture(scope="module")
def running(root: Path) -> Iterator[Server]:
    with Server(root, "--model-control", "explicit") as server:
        assert _serving(server, "linear") == ["3", "2", "1"]
        yield server


@pytest.fixture
def server(running: Server, root: Path) -> Server:
    """One that serves every version of `linear`, and `other`."""
    _reload(
        running,
        {
            "name": "linear",
            "base_path": str(root / "linear"),
            "model_version_policy": {"all": {}},
        },
        {"name": "other", "base_path": str(root / "other")},
    )
    return running


def _reload(server: Server, *models: dict[str, Any]) -> None:
    request = Request()
    request.config.model_config_list.SetInParent()
    for model in models:
        request.config.model_config_list.config.add(**model)
    with grpc.insecure_channel(server.address) as channel:
        channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )(request, timeout=90)  # the engines of four models, on a busy machine


def _serving(server: Server, name: str) -> list[str]:
    status, answer, _ = http(f"{server.url}/v1/models/{name}")
    assert status == 200, answer
    rows = answer["model_version_status"]
    return [row["version"] for row in rows if row["state"] == "AVAILABLE"]


def test_the_set_is_replaced_and_the_newest_version_serves(server: Server, root: Path) -> None:
    assert _serving(server, "linear") == ["3", "2", "1"]
    _reload(server, {"name": "linear", "base_path": str(root / "linear")})
    assert _serving(server, "linear") == ["3"]
    assert _serving(server, "other") == []
    status, answer, _ = http(f"{server.url}/v1/models/other:predict", {"instances": [[1, 2, 3, 4]]})
    assert (status, answer["error"].split(";")[0]) == (
        404,
        "Servable not found for request: Latest(other)",
    )


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ({"latest": {"num_versions": 2}}, ["3", "2"]),
        ({"all": {}}, ["3", "2", "1"]),
        ({"specific": {"versions": [1, 3]}}, ["3", "1"]),
    ],
)
def test_version_policies(
    server: Server, root: Path, policy: dict[str, Any], versions: list[str]
) -> None:
    _reload(
        server,
        {
            "name": "renamed",
            "base_path": f"file://{root}/linear",
            "model_platform": "tensorflow",
            "model_version_policy": policy,
        },
    )
    assert _serving(server, "renamed") == versions
    assert _serving(server, "linear") == []


def test_an_empty_list_unloads_everything_and_the_server_stays(server: Server, root: Path) -> None:
    _reload(server)
    assert _serving(server, "linear") == []
    assert http(f"{server.url}/readyz")[0] == 200
    _reload(server, {"name": "other", "base_path": str(root / "other")})
    assert _serving(server, "other") == ["1"]


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ({"name": "linear"}, grpc.StatusCode.INVALID_ARGUMENT, "needs a name and a base_path"),
        ({"name": "x", "base_path": "/"}, grpc.StatusCode.PERMISSION_DENIED, "server.model_roots"),
        (
            {"name": "x", "base_path": "ROOT/../.."},
            grpc.StatusCode.PERMISSION_DENIED,
            "server.model_roots",
        ),
        ({"name": "x", "base_path": "ROOT/none"}, grpc.StatusCode.INTERNAL, "no such file"),
        (
            {
                "name": "linear",
                "base_path": "ROOT/linear",
                "version_labels": {"stable": 3, "canary": 2},
            },
            grpc.StatusCode.INVALID_ARGUMENT,
            "'canary' of model 'linear' names version 2",
        ),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    server: Server, root: Path, model: dict[str, Any], code: grpc.StatusCode, words: str
) -> None:
    if "base_path" in model:
        model = {**model, "base_path": model["base_path"].replace("ROOT", str(root))}
    with pytest.raises(grpc.RpcError) as refused:
        _reload(server, {"name": "other", "base_path": str(root / "other")}, model)
    assert refused.value.code() is code
    assert words in refused.value.details()
    assert _serving(server, "linear") == ["3", "2", "1"]
    assert _serving(server, "other") == ["1"]


def test_what_tensorflow_serving_counts_outlives_versions_and_models(
    server: Server, root: Path
) -> None:
    def answered() -> float:
        page = plain("GET", "/monitoring/prometheus/metrics")
        lines = send(server.address, page, timeout_s=30).body.decode().splitlines()
        name = ':tensorflow:serving:request_count{model_name="linear",status="OK"} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = answered()
    for version in (1, 3):
        path = f"{server.url}/v1/models/linear/versions/{version}:predict"
        assert http(path, {"instances": [[1, 2, 3, 4]]})[0] == 200
    assert answered() == before + 2
    _reload(server, {"name": "linear", "base_path": str(root / "linear")})
    assert answered() == before + 2
    _reload(server)
    assert answered() == before + 2
    _reload(server, {"name": "linear", "base_path": str(root / "linear")})
    assert http(f"{server.url}/v1/models/linear:predict", {"instances": [[1, 2, 3, 4]]})[0] == 200
    assert answered() == before + 3
