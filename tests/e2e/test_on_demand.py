"""Models that are only listed until somebody asks for them: over every front, and past all that
may happen meanwhile."""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http

from headrace.receiver.codecs.protobuf import message
from tests.e2e.clients import FRONTS, Array, http, metrics, triton_grpc
from tests.e2e.conftest import write_linear
from tests.e2e.models import write_fake, write_sum
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

X = np.ones((2, 4), np.float32)
LISTED = ("--preload", "false")


def _large_json(address: str, model: str, x: Array) -> Array:
    """A body that the scribe decodes."""
    rows = np.repeat(x, 10_000, 0)
    body = {"instances": rows.tolist()}
    status, answer, _ = http(f"http://{address}/v1/models/{model}:predict", body)
    assert status == 200, answer
    return np.asarray(answer["predictions"], np.float32)[::10_000]


def _stream(address: str, model: str, x: Array) -> Array:
    """Two requests on one stream: both wait."""
    answers: queue.Queue[Any] = queue.Queue()
    tensor = tritonclient.grpc.InferInput("x", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    with tritonclient.grpc.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for _ in range(2):
            client.async_stream_infer(model, [tensor])
        found = [answers.get(timeout=60) for _ in range(2)]
        client.stop_stream()
    assert [error for _, error in found] == [None, None]
    return np.asarray(found[0][0].as_numpy("y"))


def _tfserving_grpc(address: str, model: str, x: Array) -> Array:
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = model
    tensor = request.inputs["x"]
    tensor.dtype, tensor.tensor_content = 1, x.tobytes()
    for size in x.shape:
        tensor.tensor_shape.dim.add(size=size)
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            type(request).SerializeToString,
            message("tensorflow.serving.PredictResponse").FromString,
        )
        answer = call(request, timeout=60).outputs["y"]
    return np.asarray(answer.float_val, np.float32).reshape(x.shape)


def _raw(address: str, model: str, x: Array) -> Array:
    """Triton's raw binary request."""
    with tritonclient.http.InferenceServerClient(address) as client:
        tensor = tritonclient.http.InferInput("x", x.shape, "FP32")
        tensor.set_data_from_numpy(x, binary_data=True)
        return np.asarray(client.infer(model, [tensor]).as_numpy("y"))


EVERY: dict[str, Callable[[str, str, Array], Array]] = {
    **FRONTS,
    "large-json": _large_json,
    "stream": _stream,
    "tfserving-grpc": _tfserving_grpc,
    "raw": _raw,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A listed model for each test that wants one nobody has asked for yet."""
    root = tmp_path_factory.mktemp("models")
    names = [*EVERY, "metadata", "config", "watched", "many", "statistics", "index"]
    for name in names:
        write_fake(root / name / "1" / "model.fake", scale=3)
    for version in (1, 2):
        write_fake(root / "versions" / str(version) / "model.fake", scale=version)
    write_sum(root / "sum")
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    with Server(root, *LISTED) as running:
        yield running


def _states(server: Server, name: str) -> dict[int, str]:
    said = http(f"{server.url}/models")[1]["models"]
    return {row["version"]: row["state"] for row in said if row["name"] == name}


def _loads(server: Server, name: str) -> float:
    sample = f'headrace_model_moves_total{{model="{name}",state="loading"}}'
    return metrics(server.url).get(sample, 0)


def _ask(server: Server, model: str, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    return http(f"{server.url}/predict/{model}", {"input": X.tolist()}, headers, timeout_s=60)


def _later(call: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """The result of a call that is made beside the test."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_a_server_of_listed_models_is_ready_at_once_and_without_engines(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_fake(tmp_path / f"{name}.fake", load_ms=60_000)
    with Server(tmp_path, *LISTED) as server:
        until(lambda: server.engines() == [])
        assert http(f"{server.url}/readyz")[0] == 200
        assert "2 models load at their first request" in server.output


@pytest.mark.parametrize("front", EVERY)
def test_the_first_request_loads_the_model_over_every_front(server: Server, front: str) -> None:
    assert _states(server, front) == {1: "listed"}
    np.testing.assert_allclose(EVERY[front](server.address, front, X), 3 * X)
    assert _states(server, front) == {1: "serving"}


def test_a_sequence_begins_with_the_load(server: Server) -> None:
    url = f"{server.url}/predict/sum"
    headers = {"headrace-sequence-id": "7", "headrace-sequence-start": "true"}
    body = {"input": [[1.0, 2.0]]}
    assert http(url, body, headers)[1] == {"output": [[1.0, 2.0]]}
    assert http(url, body, {"headrace-sequence-id": "7"})[1] == {"output": [[2.0, 4.0]]}


def test_who_asks_what_a_model_is_has_it_loaded(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        assert client.get_model_metadata("metadata").inputs[0].name == "x"
        assert client.get_model_config("config").config.name == "config"
    assert _states(server, "metadata") == _states(server, "config") == {1: "serving"}


def test_who_asks_how_a_model_is_does_not_load_it(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        assert client.is_model_ready("watched")
        rows = {row.name: row for row in client.get_model_repository_index().models}
        assert (rows["watched"].state, rows["watched"].reason) == (
            "UNAVAILABLE",
            "loads at its first request",
        )
        assert not client.get_inference_statistics("watched").model_stats
    assert http(f"{server.url}/v2/models/watched/ready")[0] == 200
    assert http(f"{server.url}/models/watched/slowest")[1] == {"requests": []}
    status, said, headers = http(f"{server.url}/models/watched/profile")
    assert (status, headers["headrace-error"]) == (503, "not_ready")
    assert "send it a request first" in said["error"]
    (told,) = http(f"{server.url}/v1/models/watched")[1]["model_version_status"]
    assert (told["state"], told["status"]["error_code"]) == ("AVAILABLE", "OK")
    assert _states(server, "watched") == {1: "listed"}


def test_many_requests_for_one_model_have_it_loaded_once(server: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: _ask(server, "many"), range(16)))
    assert {status for status, _, _ in found} == {200}
    assert _loads(server, "many") == 1


def test_no_version_asked_for_means_the_newest_though_an_older_one_serves(server: Server) -> None:
    first = triton_grpc(server.address, "versions", X, model_version="1")
    np.testing.assert_allclose(first, X)
    assert _states(server, "versions") == {1: "serving", 2: "listed"}
    np.testing.assert_allclose(triton_grpc(server.address, "versions", X), 2 * X)
    assert _states(server, "versions") == {1: "serving", 2: "serving"}


def test_a_model_that_cannot_be_loaded_has_failed_and_says_why(server: Server) -> None:
    for _ in range(2):
        status, answer, headers = _ask(server, "broken")
        assert (status, headers["headrace-error"]) == (503, "model_failed")
        assert "broken" in answer["error"]
        assert "retry-after" not in headers
    assert _states(server, "broken") == {1: "failed"}
    assert _loads(server, "broken") == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/slow"),
        ("HEAD", "/v2/models/slow"),
        ("GET", "/v2/models/slow/config"),
        ("GET", "/v1/models/slow/metadata"),
    ],
)
def test_who_only_asks_what_a_model_is_waits_for_one_that_loads_slowly(
    tmp_path: Path, method: str, path: str
) -> None:
    """Such a request has no body; it is asked more than once whether its client is there."""
    write_fake(tmp_path / "slow.fake", load_ms=2500)
    with Server(tmp_path, *LISTED) as server:
        answer = requests.request(method, f"{server.url}{path}", timeout=30)
        assert answer.status_code == 200, answer.text


def test_an_impatient_request_is_told_to_come_again_and_the_load_goes_on(tmp_path: Path) -> None:
    write_fake(tmp_path / "slow.fake", load_ms=1500)
    with Server(tmp_path, *LISTED) as server:
        status, answer, headers = _ask(server, "slow", {"headrace-timeout-ms": "100"})
        assert (status, headers["headrace-error"]) == (503, "not_resident")
        assert (headers["retry-after"], "still being loaded" in answer["error"]) == ("1", True)
        assert _ask(server, "slow")[0] == 200
        assert _loads(server, "slow") == 1


def test_the_objective_counts_from_when_the_model_is_there(tmp_path: Path) -> None:
    write_fake(tmp_path / "slow.fake", load_ms=500)
    with Server(tmp_path, *LISTED, "--slo-ms", "200") as server:
        assert _ask(server, "slow")[0] == 200


def test_sigterm_while_a_model_loads_answers_those_who_wait(tmp_path: Path) -> None:
    write_fake(tmp_path / "slow.fake", load_ms=60_000)
    with Server(tmp_path, *LISTED) as server:
        waiting = _later(_ask, server, "slow")
        until(lambda: _states(server, "slow") == {1: "loading"})
        assert server.stop() == 0
        status, _, headers = waiting.result()
        assert (status, headers["headrace-error"]) == (503, "draining")


def test_a_receiver_that_dies_during_a_load_leaves_the_next_one_to_wait_for_it(
    tmp_path: Path,
) -> None:
    write_fake(tmp_path / "slow.fake", load_ms=4000)
    with Server(tmp_path, *LISTED) as server:
        waiting = _later(_ask, server, "slow")
        until(lambda: _states(server, "slow") == {1: "loading"})
        server.receiver().kill()
        with pytest.raises(OSError, match=r"."):  # its connection has gone
            waiting.result()
        server.wait_for("receiver_died")
        until(lambda: _is_there(server))
        assert _ask(server, "slow")[0] == 200
        assert _loads(server, "slow") <= 1  # what the new receiver has seen of it


def _is_there(server: Server) -> bool:
    try:
        return requests.get(f"{server.url}/readyz", timeout=1).status_code == 200
    except requests.RequestException:
        return False


def test_orders_load_and_unload_what_is_listed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_fake(tmp_path / name / "1" / "model.fake", scale=2)
    with (
        Server(tmp_path, *LISTED, "--model-control", "explicit") as server,
        tritonclient.http.InferenceServerClient(server.address) as client,
    ):
        client.load_model("a")
        assert _states(server, "a") == {1: "serving"}
        client.unload_model("b")
        status, _, headers = _ask(server, "b")
        assert (status, headers["headrace-error"]) == (404, "model_not_found")
        client.unload_model("a")
        assert _ask(server, "a")[0] == 404
        client.load_model("a")
        assert _ask(server, "a")[1] == {"output": (2 * X).tolist()}


def test_what_changes_is_listed_anew_and_a_new_version_of_what_is_in_memory_is_loaded(
    tmp_path: Path,
) -> None:
    write_linear(tmp_path / "models/m/1/model.onnx", 1.0)
    poll = ("--model-control", "poll", "--poll-s", "0.2")
    with Server(tmp_path / "models", *LISTED, *poll, "--versions", "latest:1") as server:
        write_linear(tmp_path / "models/m/1/model.onnx", 2.0)
        server.wait_for("model_changed")
        base = np.ones(4) @ (np.arange(12).reshape(4, 3) - 5)
        until(lambda: _states(server, "m") == {1: "listed"})
        np.testing.assert_allclose(_ask(server, "m")[1]["output"][0], 2 * base)
        write_linear(tmp_path / "models/m/2/model.onnx", 3.0)
        until(lambda: _states(server, "m") == {1: "unloaded", 2: "serving"})
        np.testing.assert_allclose(_ask(server, "m")[1]["output"][0], 3 * base)
        write_linear(tmp_path / "models/m/2/model.onnx", 4.0)  # which serves: it is replaced
        until(lambda: _ask(server, "m")[1]["output"][0][0] == 4 * base[0])


def test_a_settings_file_says_it_of_one_model(tmp_path: Path) -> None:
    for name in ("warm", "cold"):
        write_fake(tmp_path / f"{name}.fake")
    config = tmp_path / "headrace.yaml"
    models = [{"path": "warm.fake"}, {"path": "cold.fake", "preload": False}]
    config.write_text(json.dumps({"models": models}))
    with Server("--config", config) as server:
        assert (_states(server, "warm"), _states(server, "cold")) == (
            {1: "serving"},
            {1: "listed"},
        )
        assert re.search(r"1 model loads at its first request", server.output)
