"""Models in an S3 bucket and on a web server, over real servers of both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.e2e.clients import http
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server, until
from tests.e2e.stores import Bucket, Gcs, Web, environment, free_port

pytestmark = pytest.mark.slow

POLL = ("--model-control", "poll", "--poll-s", "0.2")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder of one model, which is served beside what is far away."""
    write_linear(tmp_path / "here/linear/3/model.onnx", 10.0)
    return tmp_path / "here"


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    """A cache of its own knows no backend that was found to be the faster one: one is named."""
    return {
        "HEADRACE_SERVER__CACHE_DIR": str(tmp_path / "cache"),
        "HEADRACE_DEFAULTS__BACKEND": "onnxruntime",
    }


def _scale(server: Server, name: str = "linear") -> float | None:
    """By what the weights of the model that answers are multiplied; None: none answers."""
    status, answer, _ = http(f"{server.url}/predict/{name}", {"input": [[1, 1, 1, 1]]})
    return answer["output"][0][0] / -2 if status == 200 else None


def _versions(server: Server, name: str = "linear") -> list[str]:
    _, rows, _ = http(f"{server.url}/v2/repository/index", {"ready": True})
    return sorted(row["version"] for row in rows if row["name"] == name)


def test_a_bucket_is_served_and_fetched_once(
    bucket: Bucket, tmp_path: Path, cache: dict[str, str]
) -> None:
    write_linear(tmp_path / "models/linear/1/model.onnx", 1.0)
    write_linear(tmp_path / "models/linear/2/model.onnx", 2.0)
    write_linear(tmp_path / "models/flat.onnx", 5.0)
    (tmp_path / "models/linear/labels.txt").write_text("cat\ndog\nfish\n")
    (tmp_path / "models/linear/card.yaml").write_text("labels: labels.txt\nmax_batch: 2\n")
    bucket.upload(tmp_path)
    with Server("s3://models/models", environment=bucket.environment | cache) as server:
        assert (_scale(server), _scale(server, "flat")) == (2.0, 5.0)
        assert _versions(server) == ["1", "2"]
        assert http(f"{server.url}/v2/models/linear/config")[1]["max_batch_size"] == 2
    assert {key.removeprefix("models/") for key in bucket.fetched} == {
        "linear/1/model.onnx",
        "linear/2/model.onnx",
        "linear/card.yaml",
        "linear/labels.txt",
        "flat.onnx",
    }
    before = len(bucket.fetched)
    with Server("s3://models/models", environment=bucket.environment | cache) as server:
        assert _scale(server) == 2.0
        assert "from the cache" in server.output
    assert len(bucket.fetched) == before


def test_only_the_versions_that_are_wanted_are_fetched(
    bucket: Bucket, tmp_path: Path, cache: dict[str, str]
) -> None:
    for version in (1, 2, 3):
        write_linear(tmp_path / f"linear/{version}/model.onnx", float(version))
    bucket.upload(tmp_path)
    bucket.put("linear/4/README.md", b"there is no model in this one yet")
    flags = ("s3://models/linear", "--versions", "latest:1")
    with Server(*flags, environment=bucket.environment | cache) as server:
        assert _scale(server) == 3.0
        assert _versions(server) == ["3"]
    assert bucket.fetched == ["linear/3/model.onnx"]


def test_a_store_that_is_down_concerns_only_its_entry(here: Path, cache: dict[str, str]) -> None:
    url = "s3://models/remote"
    with Server(here, url, environment=environment(free_port()) | cache) as server:
        assert _scale(server) == 10.0
        server.wait_for("place_not_served")
        (told,) = [line for line in server.output.splitlines() if "place_not_served" in line]
        assert url in told
        assert "Could not connect" in told


def test_without_anything_to_serve_it_ends_and_says_why(cache: dict[str, str]) -> None:
    server = Server("s3://models/remote", environment=environment(free_port()) | cache)
    server.start()
    try:
        assert server.wait() == 1
    finally:
        server.kill()
    assert "s3://models/remote: cannot be read" in server.output
    assert "no model is left to serve" in server.output


def test_a_store_that_comes_up_later_is_served_then(
    here: Path, tmp_path: Path, cache: dict[str, str]
) -> None:
    port = free_port()
    where = environment(port) | cache
    with Server(here, "s3://models/remote", *POLL, environment=where) as server:
        assert _scale(server) == 10.0
        server.wait_for("models_unreadable")
        assert "s3://models/remote: cannot be read" in server.output
        with Bucket(port) as bucket:
            write_linear(tmp_path / "remote/1/model.onnx", 4.0)
            bucket.upload(tmp_path)
            until(lambda: _scale(server, "remote") == 4.0, 60)
        bucket_gone = server.output.count("models_unreadable")
        until(lambda: server.output.count("models_unreadable") > bucket_gone, 60)
        assert _scale(server, "remote") == 4.0


def test_what_is_uploaded_later_takes_over(
    bucket: Bucket, tmp_path: Path, cache: dict[str, str]
) -> None:
    write_linear(tmp_path / "linear/1/model.onnx", 1.0)
    bucket.upload(tmp_path)
    flags = ("s3://models/linear", "--versions", "latest:1", *POLL)
    with Server(*flags, environment=bucket.environment | cache) as server:
        assert _scale(server) == 1.0
        write_linear(tmp_path / "linear/2/model.onnx", 2.0)
        bucket.upload(tmp_path)
        until(lambda: _scale(server) == 2.0, 60)
        until(lambda: _versions(server) == ["2"], 60)
        bucket.put("linear/2/model.onnx", write_linear(tmp_path / "new.onnx", 7.0).read_bytes())
        until(lambda: _scale(server) == 7.0, 60)
        bucket.put("linear/card.yaml", b"max_batch: 1\n")
        config = f"{server.url}/v2/models/linear/config"
        until(lambda: http(config)[1]["max_batch_size"] == 1, 60)
        bucket.remove("linear/card.yaml")
        until(lambda: http(config)[1]["max_batch_size"] > 1, 60)


def _write_external(folder: Path) -> None:
    """A model whose weights are in a file of another name."""
    model: Any = onnx.load(str(write_linear(folder / "whole.onnx", 3.0)))
    (folder / "whole.onnx").unlink()
    onnx.save(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )


CODE = """
import numpy as np

class Model:
    inputs = {"x": ("FP32", [None, 4])}
    outputs = {"y": ("FP32", [None, 1])}

    def load(self, folder):
        self.scale = float((folder / "variables/deep/scale.txt").read_text())

    def infer(self, batch):
        return {"y": np.full((len(batch["x"]), 1), -2 * self.scale, np.float32)}
"""


def test_a_web_server_is_served_with_folders_and_weights_beside(
    tmp_path: Path, cache: dict[str, str]
) -> None:
    del cache["HEADRACE_DEFAULTS__BACKEND"]  # one model is a Python file
    root = tmp_path / "models"
    _write_external(root / "external/1")
    (root / "code/1/variables/deep").mkdir(parents=True)
    (root / "code/1/model.py").write_text(CODE)
    (root / "code/1/variables/deep/scale.txt").write_text("9")
    with Web(tmp_path) as web:
        with Server(f"{web.url}/models/", environment=cache) as server:
            assert (_scale(server, "external"), _scale(server, "code")) == (3.0, 9.0)
        before = len(web.fetched)
        with Server(f"{web.url}/models/", environment=cache) as server:
            assert _scale(server, "external") == 3.0
        assert len(web.fetched) == before


def test_one_file_of_a_web_server_is_a_model(tmp_path: Path, cache: dict[str, str]) -> None:
    write_linear(tmp_path / "linear.onnx", 6.0)
    with Web(tmp_path) as web, Server(f"{web.url}/linear.onnx", environment=cache) as server:
        assert _scale(server) == 6.0


def test_a_bucket_of_googles_is_served(tmp_path: Path, cache: dict[str, str]) -> None:
    whole = write_linear(tmp_path / "linear.onnx", 8.0).read_bytes()
    objects = {"production/linear/1/model.onnx": whole, "production/linear/2/README": b"x"}
    with Gcs(objects) as gcs:
        where = gcs.environment | cache
        with Server("gs://models/production", *POLL, environment=where) as server:
            assert _scale(server) == 8.0
            objects["production/linear/2/model.onnx"] = write_linear(
                tmp_path / "linear.onnx", 9.0
            ).read_bytes()
            until(lambda: _scale(server) == 9.0, 60)


def test_a_bucket_without_models_any_more_unloads_nothing(
    bucket: Bucket, tmp_path: Path, cache: dict[str, str]
) -> None:
    for name in ("linear", "other"):
        write_linear(tmp_path / f"production/{name}/1/model.onnx", 1.0)
    bucket.upload(tmp_path)
    with Server("s3://models/production", *POLL, environment=bucket.environment | cache) as server:
        bucket.remove("production/other/1/model.onnx")
        until(lambda: _scale(server, "other") is None, 60)
        bucket.put("production/README.md", b"the models have moved")
        bucket.remove("production/linear/1/model.onnx")
        server.wait_for("there are no models any more; what serves stays")
        assert _scale(server) == 1.0


HANG = """
import socket, sys, threading

look_up = socket.getaddrinfo

def hang(host, *others, **options):
    if host != "nowhere.invalid":
        return look_up(host, *others, **options)
    print("looking up a name", file=sys.stderr, flush=True)
    threading.Event().wait()

socket.getaddrinfo = hang
"""


def test_a_name_that_is_looked_up_without_end_holds_up_no_end(
    here: Path, tmp_path: Path, cache: dict[str, str]
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(HANG)
    path = f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    flags = (here, "http://nowhere.invalid/models")
    server = Server(*flags, environment=cache | {"PYTHONPATH": path})
    server.start()
    try:
        server.wait_for("looking up a name")
        server.wait_for("linear.* version 3")
        begun_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun_s < 10
    finally:
        server.kill()


def test_a_fetch_holds_up_neither_others_nor_the_end(
    here: Path, tmp_path: Path, cache: dict[str, str]
) -> None:
    write_linear(tmp_path / "slow/1/model.onnx", 1.0)
    with Web(tmp_path) as web:
        web.stalled = "model.onnx"
        server = Server(here, f"{web.url}/slow", environment=cache)
        server.start()
        try:
            assert web.half_sent.wait(60)
            server.wait_for("linear.* version 3")
            assert "Headrace is ready" not in server.output
            begun_s = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun_s < 10
        finally:
            server.kill()


def test_nothing_half_fetched_is_used_when_the_server_is_killed(
    tmp_path: Path, cache: dict[str, str]
) -> None:
    write_linear(tmp_path / "models/linear/1/model.onnx", 1.0)
    (tmp_path / "models/linear/1/weights.bin").write_bytes(bytes(1000))
    kept = tmp_path / "cache/remote"
    with Web(tmp_path / "models") as web:
        web.stalled = "weights.bin"
        server = Server(f"{web.url}/linear", environment=cache)
        server.start()
        try:
            assert web.half_sent.wait(60)
        finally:
            os.kill(server.process.pid, signal.SIGKILL)
            server.kill()
        assert [path.name[:6] for path in kept.iterdir()] == [".part-"]
        web.go_on()
        with Server(f"{web.url}/linear", environment=cache) as server:
            assert _scale(server) == 1.0
        assert web.fetched.count("/linear/1/model.onnx") == 2
