"""Real models, real clients, every front: the main job."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.e2e.clients import FRONTS, http, metrics, triton_grpc
from tests.e2e.server import Server

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
X = np.array([[1, 2, 3, 4], [0.5, -1, 0, 2]], np.float32)


@pytest.mark.parametrize("front", FRONTS)
def test_every_front_gives_the_same_answer(server: Server, front: str) -> None:
    answer = FRONTS[front](server.address, "linear", X)
    np.testing.assert_allclose(answer, X @ WEIGHTS * 10, rtol=1e-5)


def test_the_newest_version_serves_and_the_others_answer_by_number(server: Server) -> None:
    np.testing.assert_allclose(triton_grpc(server.address, "linear", X), X @ WEIGHTS * 10)
    old = triton_grpc(server.address, "linear", X, model_version="1")
    np.testing.assert_allclose(old, X @ WEIGHTS)
    url = f"{server.url}/v1/models/linear/versions/1:predict"
    _, answer, _ = http(url, {"instances": X.tolist()})
    np.testing.assert_allclose(answer["predictions"], X @ WEIGHTS)
    status, answer, _ = http(f"{server.url}/v1/models/linear/versions/2:predict", {"instances": []})
    assert status == 404
    assert "version" in answer["error"].lower()


@pytest.mark.parametrize("host", ["", "host: a\r\n"])
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/livez", "", 200),
        ("HEAD", "/v2/models/linear", "", 200),
        ("POST", "/predict", '{"input": [[1, 2, 3, 4]]}', 200),
        ("POST", "/predict/nothing", "{}", 404),
    ],
)
def test_http_1_0_is_answered_as_it_wants(
    server: Server, method: str, path: str, body: str, status: int, host: str
) -> None:
    address, _, port = server.address.rpartition(":")
    head = f"{method} {path} HTTP/1.0\r\n{host}content-length: {len(body)}\r\n\r\n"
    answer = b""
    with socket.create_connection((address, int(port)), timeout=10) as stream:
        stream.sendall((head + body).encode())
        while data := stream.recv(65536):  # until the server closes the connection
            answer += data
    lines, _, said = answer.partition(b"\r\n\r\n")
    assert int(lines.split()[1]) == status
    headers = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
    assert headers[b"connection"] == b"close"
    assert b"transfer-encoding" not in headers
    assert len(said) == (0 if method == "HEAD" else int(headers[b"content-length"]))


def test_more_addresses_serve_the_same(server: Server) -> None:
    assert len(server.endpoints) == 2
    first, second = (http(f"{url}/v2/models/linear") for url in server.endpoints)
    assert first[:2] == second[:2]
    assert first[0] == 200


def test_predict_without_a_name_runs_the_default_model(server: Server) -> None:
    status, answer, _ = http(f"{server.url}/predict", {"input": X.tolist()})
    assert status == 200
    np.testing.assert_allclose(answer["output"], X @ WEIGHTS * 10)


def test_health_metadata_and_status(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("linear")
        assert client.is_model_ready("linear", "3")
        assert not client.is_model_ready("linear", "2")
        metadata = client.get_model_metadata("linear", as_json=True)
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
        assert client.get_server_metadata(as_json=True)["name"] == "headrace"
    with tritonclient.http.InferenceServerClient(server.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("linear", "1")
        assert client.get_model_metadata("linear")["versions"] == ["1", "3"]
    status, answer, _ = http(f"{server.url}/v1/models/linear")
    assert status == 200
    states = {one["version"]: one["state"] for one in answer["model_version_status"]}
    assert states == {"1": "AVAILABLE", "3": "AVAILABLE"}


def test_the_card_chooses_the_result_steps_and_labels(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        tensor = tritonclient.grpc.InferInput("x", X.shape, "FP32")
        tensor.set_data_from_numpy(X)
        plain = client.infer("labelled", [tensor]).as_numpy("y")
        asked = [tritonclient.grpc.InferRequestedOutput("y", class_count=2)]
        classes = client.infer("labelled", [tensor], outputs=asked).as_numpy("y")
    scores = X @ WEIGHTS
    expected = np.exp(scores - scores.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(plain, expected, rtol=1e-4, atol=1e-7)
    assert classes.shape == (2, 2)
    value, index, label = classes[0, 0].decode().split(":")
    assert (int(index), label) == (int(expected[0].argmax()), ["cat", "dog", "fish"][int(index)])
    assert float(value) == pytest.approx(expected[0].max(), abs=1e-5)


def test_id_is_echoed_and_errors_are_typed_for_real_clients(server: Server) -> None:
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        tensor = tritonclient.grpc.InferInput("x", X.shape, "FP32")
        tensor.set_data_from_numpy(X)
        answer = client.infer("linear", [tensor], request_id="r-17").get_response()
        assert (answer.id, answer.model_name, answer.model_version) == ("r-17", "linear", "3")
        with pytest.raises(InferenceServerException, match="unknown model 'nope'") as caught:
            client.infer("nope", [tensor])
        assert caught.value.status() == str(grpc.StatusCode.NOT_FOUND)
        tensor = tritonclient.grpc.InferInput("x", (2, 5), "FP32")
        tensor.set_data_from_numpy(np.zeros((2, 5), np.float32))
        with pytest.raises(InferenceServerException) as caught:
            client.infer("linear", [tensor])
        assert caught.value.status() == str(grpc.StatusCode.INVALID_ARGUMENT)


def test_more_rows_than_a_batch_may_have_are_split_and_joined(server: Server) -> None:
    x = np.random.default_rng(0).random((1000, 4), np.float32)
    np.testing.assert_allclose(
        triton_grpc(server.address, "linear", x), x @ WEIGHTS * 10, rtol=1e-4, atol=1e-4
    )


def test_metrics_tell_every_phase_and_outcome(server: Server) -> None:
    triton_grpc(server.address, "linear", X)
    http(f"{server.url}/predict/linear", {"input": [[1, 2]]})
    page = metrics(server.url)
    label = 'model="linear",phase="{}",version="3"'
    for phase in ("receive", "decode", "queue", "assemble", "infer", "results", "encode", "total"):
        assert page[f"headrace_phase_seconds_count{{{label.format(phase)}}}"] > 0, phase
    assert page['headrace_requests_total{model="linear",outcome="ok",version="3"}'] > 0
    assert page['headrace_requests_total{model="linear",outcome="invalid_input",version="3"}'] > 0


def test_check_names_the_bad_key_and_line(tmp_path: Path) -> None:
    config = tmp_path / "headrace.yaml"
    config.write_text("server:\n  port: 8000\nmodels:\n  - path: model.onnx\n    instancs: 2\n")
    broken = Server("--config", config)
    broken.start()
    assert broken.wait(20) == 2
    broken.wait_for("instancs")
    assert "headrace.yaml:5:" in broken.output
    assert "instances" in broken.output
