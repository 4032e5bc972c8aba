"""``headrace models`` and what it asks: every version with its costs, and labels that move."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.receiver.codecs.protobuf import message
from tests.contract.calls import plain, send
from tests.e2e.clients import http, metrics
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

Predict = message("tensorflow.serving.PredictRequest")
Predicted = message("tensorflow.serving.PredictResponse")
ROW = {"instances": [[1, 0, 0, 0]]}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server of two versions that nobody has done anything to."""
    for version in (1, 2):
        write_linear(tmp_path / f"linear/{version}/model.onnx", float(version))
    with Server(tmp_path, "--model-control", "explicit") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        write_linear(root / f"linear/{version}/model.onnx", float(version))
    with Server(root, "--model-control", "explicit") as running:
        yield running


@pytest.fixture
def server(shared: Server) -> Server:
    """One of two versions without labels."""
    if labels := {label: None for row in rows(shared) for label in row["labels"]}:
        assert patch(shared, "linear", labels)[0] == 200
    return shared


def command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", "models", *arguments, "--url", server.url],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200"},
    )


def said(server: Server, *arguments: str) -> Any:
    done = command(server, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(server: Server) -> list[dict[str, Any]]:
    """Its versions; none while it does not answer."""
    try:
        status, answer, _ = http(f"{server.url}/models")
    except OSError:
        return []
    return list(answer["models"]) if status == 200 else []


def patch(server: Server, model: str, body: Any) -> tuple[int, Any]:
    reply = send(server.address, plain("PATCH", f"/models/{model}/labels", body), timeout_s=30)
    return reply.status, json.loads(reply.body)


def labelled(label: str) -> Any:
    """The same row over gRPC, of the version that a label stands for."""
    request = Predict()
    request.model_spec.name, request.model_spec.version_label = "linear", label
    tensor = request.inputs["x"]
    tensor.dtype = 1  # DT_FLOAT
    for size in (1, 4):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(ROW["instances"][0])
    return request


def first_of(answer: Any) -> float:
    tensor = answer.outputs["y"]
    values = tensor.float_val or np.frombuffer(tensor.tensor_content, np.float32)
    return float(values[0])


def test_every_version_is_there_with_what_it_costs(fresh: Server) -> None:
    status, answer, _ = http(f"{fresh.url}/models")
    assert status == 200
    assert [(one["name"], one["version"], one["state"]) for one in answer["models"]] == [
        ("linear", 1, "serving"),
        ("linear", 2, "serving"),
    ]
    for one in answer["models"]:
        assert one["memory_bytes"] > 2**20
        assert set(one["load_s"]) == {"start", "load", "warm"}
        assert all(0 < seconds < 60 for seconds in one["load_s"].values())
        assert one["since_unix_s"] > 1.7e9
    page = metrics(fresh.url)
    assert page['headrace_model_state{model="linear",state="serving",version="2"}'] == 1
    assert page['headrace_model_memory_bytes{model="linear",version="2"}'] > 2**20
    assert page['headrace_model_load_seconds{model="linear",part="warm",version="2"}'] > 0
    assert page['headrace_model_moves_total{model="linear",state="serving"}'] == 2


def test_labels_move_while_clients_ask_by_them_and_nobody_fails(server: Server) -> None:
    assert patch(server, "linear", {"stable": 1, "canary": 2}) == (
        200,
        {"labels": {"canary": 2, "stable": 1}},
    )
    seen: set[float] = set()
    failed: list[Any] = []
    stop = threading.Event()

    def ask() -> None:
        with grpc.insecure_channel(server.address) as channel:
            predict = channel.unary_unary(
                "/tensorflow.serving.PredictionService/Predict",
                request_serializer=Predict.SerializeToString,
                response_deserializer=Predicted.FromString,
            )
            while not stop.is_set():
                try:
                    answer = predict(labelled("stable"), timeout=30)
                except grpc.RpcError as error:
                    failed.append(error)
                else:
                    seen.add(first_of(answer))

    asking = threading.Thread(target=ask)
    asking.start()
    for version in (2, 1) * 10:
        assert patch(server, "linear", {"stable": version})[0] == 200
        _, answer, _ = http(f"{server.url}/v1/models/linear/labels/stable:predict", ROW)
        assert answer["predictions"][0][0] == -5.0 * version
    stop.set()
    asking.join()
    assert not failed
    assert seen == {-5.0, -10.0}


@pytest.mark.parametrize(
    ("model", "body", "status", "words"),
    [
        ("linear", {"stable": 2, "new": 9}, 400, "names version 9.*versions: 1, 2"),
        ("linear", {"stable": "2"}, 400, "the number of a version, or null"),
        ("linear", {"stable": True}, 400, "the number of a version, or null"),
        ("linear", {"stable": -1}, 400, "the number of a version, or null"),
        ("linear", {"": 1}, 400, "1 to 200 letters"),
        ("linear", {}, 400, "names no label"),
        ("linear", {str(n): 1 for n in range(101)}, 400, "at most 100"),
        ("linear", [1], 400, "object"),
        ("other", {"stable": 1}, 404, "not loaded"),
    ],
)
def test_an_order_that_cannot_be_carried_out_moves_no_label(
    server: Server, model: str, body: Any, status: int, words: str
) -> None:
    patch(server, "linear", {"stable": 1})
    refused, answer = patch(server, model, body)
    assert refused == status
    assert re.search(words, answer["error"])
    assert {one["version"]: one["labels"] for one in rows(server)} == {
        1: ["stable"],
        2: [],
    }


def test_labels_and_lives_outlive_the_receiver(fresh: Server) -> None:
    patch(fresh, "linear", {"stable": 2})
    since = [one["since_unix_s"] for one in rows(fresh)]
    moves = _moves(fresh)
    fresh.receiver().kill()
    fresh.wait_for("receiver_died")
    until(lambda: [one["labels"] for one in rows(fresh)] == [[], ["stable"]])
    until(lambda: {one["state"] for one in rows(fresh)} == {"serving"})
    assert [one["since_unix_s"] for one in rows(fresh)] == since
    assert _moves(fresh) == moves


def _moves(server: Server) -> dict[str, float]:
    """How often versions came to each state."""
    page = metrics(server.url)
    return {name: n for name, n in page.items() if name.startswith("headrace_model_moves_total")}


def test_the_command_steers_a_server(server: Server) -> None:
    assert said(server, "label", "linear", "stable=1", "canary=2")["labels"] == {
        "stable": 1,
        "canary": 2,
    }
    assert command(server, "label", "linear", "canary=").stdout == "linear: labels stable=1\n"
    assert command(server, "unload", "linear").stdout == "linear: unloaded\n"
    assert {one["state"] for one in said(server)["models"]} == {"unloaded"}
    assert command(server, "load", "linear").stdout == "linear: loaded\n"
    table = command(server).stdout
    assert table.count("serving") == 2
    assert "start " in table
    assert "stable" in table


def test_what_the_server_refuses_is_one_line_and_status_1(server: Server) -> None:
    done = command(server, "unload", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "headrace: model 'nobody' is not loaded\n",
    )
    as_json = command(server, "label", "linear", "stable=7", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["code"] == "invalid_input"
    assert command(server, "label", "linear", "stable:7").returncode == 2


def test_without_leave_nothing_is_changed(tmp_path: Path) -> None:
    write_linear(tmp_path / "linear/1/model.onnx", 1.0)
    with Server(tmp_path) as running:
        assert patch(running, "linear", {"stable": 1})[0] == 403
        done = command(running, "label", "linear", "stable=1")
        assert done.returncode == 1
        assert "--model-control explicit" in done.stderr


def test_a_watch_goes_on_until_ctrl_c(server: Server) -> None:
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "headrace", "models", "--watch", "--url", server.url],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    text = b""
    patch(server, "linear", {"stable": 2})
    while b"canary" not in text:
        text += os.read(ours, 65536)
        if b"stable" in text:
            patch(server, "linear", {"canary": 1})
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=30) == 0
    os.close(ours)
