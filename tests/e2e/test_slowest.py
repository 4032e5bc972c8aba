"""Where the time of a request went: told in its answer, and of the slowest to whoever asks."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headrace.models.ask import ServerModels
from headrace.receiver.codecs.protobuf import message
from tests.contract.calls import send, unary
from tests.e2e.clients import http, metrics
from tests.e2e.models import write_fake
from tests.e2e.server import Server

pytestmark = pytest.mark.slow

Infer = message("inference.ModelInferRequest")
X = [[1.0, 2, 3, 4]]
ASK = {"headrace-timing": "1"}
DELAY_MS = 30.0
PHASES = (
    "load",
    "receive",
    "decode",
    "queue",
    "assemble",
    "lane",
    "infer",
    "results",
    "encode",
    "total",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    write_fake(folder / "slow" / "1" / "model.fake", base_ms=DELAY_MS)
    write_fake(folder / "quick" / "1" / "model.fake")
    write_fake(folder / "quick" / "2" / "model.fake")
    with Server(folder) as running:
        yield running


def _read(header: str) -> dict[str, float]:
    """Milliseconds of each phase, as a browser reads them."""
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", header)}


def _plain(url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    return http(f"{url}/predict/slow", {"input": X}, dict(headers))[2]


def _tfserving(url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    return http(f"{url}/v1/models/slow:predict", {"instances": X}, dict(headers))[2]


def _rest(url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X}
    return http(f"{url}/v2/models/slow/infer", {"inputs": [tensor]}, dict(headers))[2]


def _grpc(url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    request = Infer(model_name="slow")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents.extend(X[0])
    path = "/inference.GRPCInferenceService/ModelInfer"
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    asked = unary(path, request.SerializeToString(), **named)
    return send(url.removeprefix("http://"), asked, timeout_s=30).headers


FRONTS: dict[str, Callable[[str, Mapping[str, str]], Mapping[str, str]]] = {
    "plain": _plain,
    "tfserving": _tfserving,
    "oip": _rest,
    "oip-grpc": _grpc,
}


@pytest.mark.parametrize("front", FRONTS)
def test_an_answer_tells_where_its_time_went_to_who_asks(server: Server, front: str) -> None:
    started_s = time.monotonic()
    phases = _read(FRONTS[front](server.url, ASK)["server-timing"])
    took_ms = 1e3 * (time.monotonic() - started_s)
    assert tuple(phases) == PHASES
    assert phases["infer"] >= DELAY_MS
    *parts, total = phases.values()
    assert total == pytest.approx(sum(parts), abs=0.01)
    assert total <= took_ms
    assert "server-timing" not in FRONTS[front](server.url, {})


def test_when_a_request_came_is_what_envoy_says_not_its_client(server: Server) -> None:
    told = {**ASK, "headrace-start": "long ago"}
    for front in FRONTS.values():
        assert _read(front(server.url, told)["server-timing"])["receive"] < DELAY_MS


def test_the_wait_for_the_body_of_a_slow_client_is_a_phase(server: Server) -> None:
    body = json.dumps({"input": X}).encode()
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(
            b"POST /predict/quick HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"headrace-timing: 1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        assert select.select([client], [], [], 0.3)[0] == []  # no answer without a body
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    timing = next(line for line in answer.split(b"\r\n") if line.startswith(b"server-timing"))
    phases = _read(timing.decode())
    assert phases["receive"] >= 250
    assert phases["decode"] < 100


def test_the_wait_for_a_model_that_was_not_in_memory_is_a_phase(tmp_path: Path) -> None:
    write_fake(tmp_path / "slow" / "1" / "model.fake", load_ms=300)
    with Server(tmp_path, environment={"HEADRACE_DEFAULTS__PRELOAD": "false"}) as running:
        phases = _read(_plain(running.url, ASK)["server-timing"])
        (mine,) = http(f"{running.url}/slowest")[1]["requests"]
        counted = metrics(running.url)
    assert phases["load"] >= 300
    assert phases["total"] >= phases["load"]
    assert mine["phases_s"]["load"] >= 0.3
    labels = 'model="slow",{}version="1"'
    took = labels.format('outcome="ok",priority="1000",')
    assert counted[f"headrace_request_seconds_sum{{{took}}}"] >= 0.3
    total = labels.format('phase="total",')
    assert counted[f"headrace_phase_seconds_sum{{{total}}}"] >= 0.3


def test_the_slowest_requests_are_told_slowest_first(server: Server) -> None:
    answer = http(f"{server.url}/predict/quick", {"input": X})
    assert answer[0] == 200
    body = {"id": "it", "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X}]}
    assert http(f"{server.url}/v2/models/slow/infer", body)[0] == 200
    requests = http(f"{server.url}/slowest")[1]["requests"]
    times = [one["total_s"] for one in requests]
    assert times == sorted(times, reverse=True)
    (mine,) = [one for one in requests if one["id"] == "it"]
    assert (mine["model"], mine["version"], mine["outcome"]) == ("slow", 1, "ok")
    assert mine["phases_s"]["infer"] >= DELAY_MS / 1e3
    assert mine["total_s"] == pytest.approx(sum(mine["phases_s"].values()))
    assert (mine["batch_rows"], mine["batch_requests"]) == (1, 1)
    assert abs(time.time() - mine["ended_unix_s"]) < 60


def test_those_of_a_version_are_told_where_another_is_slower(server: Server) -> None:
    of = f"{server.url}/models/quick"
    for version, times in ((1, 1), (2, 17)):  # as many as are told, and one more
        for _ in range(times):
            path = f"{server.url}/predict/quick/versions/{version}"
            assert http(path, {"input": X})[0] == 200
    for version in (1, 2):
        told = http(f"{of}/versions/{version}/slowest")[1]["requests"]
        assert {(one["model"], one["version"]) for one in told} == {("quick", version)}
        assert ServerModels(server.url).slowest("quick", version) == told
    assert http(f"{of}/versions/3/slowest")[0] == 404


def test_one_that_ran_out_of_time_is_told_with_its_outcome(server: Server) -> None:
    late = {"id": "late", "parameters": {"timeout": 5_000}}
    body = {**late, "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X}]}
    status, _, headers = http(f"{server.url}/v2/models/slow/infer", body, ASK)
    assert status != 200
    assert _read(headers["server-timing"])["total"] > 0
    # Its model's own: many of another may be slower on a busy machine.
    told = http(f"{server.url}/models/slow/slowest")[1]["requests"]
    (mine,) = [one for one in told if one["id"] == "late"]
    assert mine["outcome"] == headers["headrace-error"]


def test_the_command_shows_them(server: Server) -> None:
    http(f"{server.url}/predict/slow", {"input": X})

    def command(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "models", "slow", "--url", server.url, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "COLUMNS": "160"},
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    table = command()
    assert re.search(r"slow 1 .* ok .*\d+ s ", table)
    assert "infer" in table
    told: Any = json.loads(command("slow", "--json"))
    assert {one["model"] for one in told["requests"]} == {"slow"}
    refused = json.loads(command("nobody", "--json", status=1))
    assert (refused["ok"], refused["code"]) == (False, "model_not_found")
