"""Orders over the wire for models that lie in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from headrace.receiver.codecs.protobuf import message
from tests.e2e.clients import http
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server
from tests.e2e.stores import Bucket

pytestmark = pytest.mark.slow

Request = message("tensorflow.serving.ReloadConfigRequest")
Response = message("tensorflow.serving.ReloadConfigResponse")


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    for version in (1, 2):
        write_linear(tmp_path / f"production/linear/{version}/model.onnx", float(version))
        write_linear(tmp_path / f"production/other/{version}/model.onnx", float(version))
    write_linear(tmp_path / "more/late/1/model.onnx", 5.0)
    write_linear(tmp_path / "private/secret/1/model.onnx", 6.0)
    with Bucket() as running:
        running.upload(tmp_path)
        yield running


@pytest.fixture
def server(bucket: Bucket, tmp_path: Path) -> Iterator[Server]:
    where = bucket.environment | {
        "HEADRACE_SERVER__CACHE_DIR": str(tmp_path / "cache"),
        "HEADRACE_DEFAULTS__BACKEND": "onnxruntime",
        "HEADRACE_SERVER__MODEL_ROOTS": '["s3://models/more"]',
    }
    flags = ("s3://models/production", "--versions", "latest:1", "--model-control", "explicit")
    with Server(*flags, environment=where) as running:
        yield running


def _scale(server: Server, name: str) -> float | None:
    status, answer, _ = http(f"{server.url}/predict/{name}", {"input": [[1, 1, 1, 1]]})
    return answer["output"][0][0] / -2 if status == 200 else None


def _order(server: Server, name: str, **parameters: Any) -> tuple[int, Any]:
    body = {"parameters": parameters}
    status, answer, _ = http(f"{server.url}/v2/repository/models/{name}/load", body)
    return status, answer


def _reload(server: Server, *models: dict[str, Any]) -> None:
    request = Request()
    for model in models:
        request.config.model_config_list.config.add(**model)
    with grpc.insecure_channel(server.address) as channel:
        channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )(request, timeout=60)


def test_a_load_looks_in_the_bucket_again_and_fetches_that_model_only(
    server: Server, bucket: Bucket, tmp_path: Path
) -> None:
    assert (_scale(server, "linear"), _scale(server, "other")) == (2.0, 2.0)
    for name in ("linear", "other", "fresh"):
        file = write_linear(tmp_path / f"new/production/{name}/3/model.onnx", 3.0)
        bucket.put(f"production/{name}/3/model.onnx", file.read_bytes())
    before = len(bucket.fetched)
    assert _order(server, "linear")[0] == 200
    assert bucket.fetched[before:] == ["production/linear/3/model.onnx"]
    assert (_scale(server, "linear"), _scale(server, "other")) == (3.0, 2.0)
    assert _order(server, "fresh")[0] == 200
    assert _scale(server, "fresh") == 3.0
    config = '{"version_policy": {"specific": {"versions": [1]}}}'
    assert _order(server, "linear", config=config)[0] == 200
    assert _scale(server, "linear") == 1.0


def test_a_load_says_why_it_cannot_be(server: Server, bucket: Bucket) -> None:
    status, answer = _order(server, "none")
    assert (status, "no model 'none'" in answer["error"]) == (404, True)
    bucket.put("production/linear/card.yaml", b"max_bach: 1\n")
    status, answer = _order(server, "linear")
    assert status == 500
    assert answer["error"].startswith("s3://models/production/linear/card.yaml:1: max_bach")
    bucket.close()
    status, answer = _order(server, "linear")
    assert status == 500
    assert "s3://models/production: cannot be read" in answer["error"]
    assert _scale(server, "linear") == 2.0


def test_a_reload_may_name_buckets_below_the_roots(server: Server, bucket: Bucket) -> None:
    _reload(
        server,
        {"name": "renamed", "base_path": "s3://models/production/linear"},
        {"name": "late", "base_path": "s3://models/more/late/"},
    )
    assert (_scale(server, "renamed"), _scale(server, "late")) == (2.0, 5.0)
    assert _scale(server, "linear") is None
    engines = server.engines()
    _reload(server, {"name": "late", "base_path": "s3://models/more/late"})
    assert set(server.engines()) < set(engines)
    assert bucket.fetched.count("production/linear/2/model.onnx") == 1


def test_a_reload_from_elsewhere_changes_nothing(server: Server) -> None:
    for path, code, words in (
        ("s3://models/private/secret", grpc.StatusCode.PERMISSION_DENIED, "server.model_roots"),
        ("s3://models/production2", grpc.StatusCode.PERMISSION_DENIED, "server.model_roots"),
        ("s3://models/production/../private", grpc.StatusCode.INVALID_ARGUMENT, "no empty name"),
        ("hdfs://models/production", grpc.StatusCode.INVALID_ARGUMENT, "one of s3://"),
        ("s3://models/production/none", grpc.StatusCode.INTERNAL, "no such file, folder or bucket"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            _reload(server, {"name": "other", "base_path": path})
        assert refused.value.code() is code, path
        assert words in refused.value.details(), path
        assert (_scale(server, "linear"), _scale(server, "other")) == (2.0, 2.0), path
