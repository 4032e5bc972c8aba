"""More requests than the machine can do: refusals are typed, fast and counted, the rest in time."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.clients import grpc_request, http, metrics, outcomes, triton_grpc
from tests.e2e.crowd import Crowd, codes, statuses
from tests.e2e.http2 import ask
from tests.e2e.models import write_config, write_fake
from tests.e2e.server import Server, frozen, until

SLO_S = 0.2
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
X = np.ones((1, 4), np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two models of 200 rows/s: `timely` with an objective, `patient` with a short queue."""
    root = tmp_path_factory.mktemp("overload")
    write_fake(root / "timely.fake", base_ms=20)
    write_fake(root / "patient.fake", base_ms=20)
    same = {"max_batch": 4, "instances": 1}
    config = write_config(
        root / "headrace.yaml",
        {"path": root / "timely.fake", "slo_ms": SLO_S * 1e3, **same},
        {"path": root / "patient.fake", "max_queue": 4, **same},
    )
    with Server("--config", config) as running:
        yield running


def test_with_an_objective_most_are_refused_at_once_and_the_rest_are_in_time(
    server: Server,
) -> None:
    with Crowd(server.address) as crowd:
        answers = crowd.rush("timely", clients=64, each=10)
    assert len(answers) == 640
    answered = [answer.seconds for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.code == "predicted_miss"]
    assert answered
    assert len(refused) > 64
    assert statistics.median(answered) < SLO_S  # 64 clients would wait 0.32 s if none was refused
    assert {answer.status for answer in refused} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert "too late" in refused[0].output
    assert statistics.median(answer.seconds for answer in refused) < SLO_S / 2


def test_every_request_is_counted_once_under_its_own_reason(server: Server) -> None:
    before, rows_before = outcomes(server.url, "timely"), _rows(server, "timely")
    with Crowd(server.address) as crowd:
        answers = crowd.rush("timely", clients=32, each=10)
    after = outcomes(server.url, "timely")
    counted = {name: count - before.get(name, 0) for name, count in after.items()}
    assert {name: count for name, count in counted.items() if count} == codes(answers)
    assert sum(counted.values()) == len(answers) == 320
    assert _rows(server, "timely") - rows_before == statuses(answers)[200]  # nothing for nothing


def test_without_an_objective_the_queue_is_full_at_its_bound(server: Server) -> None:
    with Crowd(server.address) as crowd, frozen(server.engine("patient")):
        handed_over = [crowd.ask("patient")]
        _until(server, "running_batches", 1)
        handed_over.append(crowd.ask("patient"))
        _until(server, "running_batches", 2)
        waiting = [crowd.ask("patient") for _ in range(12)]
        until(lambda: sum(one.done() for one in waiting) == 8)
        assert _gauge(server, "queue_length") == 4
        refused = [one.result() for one in waiting if one.done()]
        with pytest.raises(InferenceServerException, match="wait already") as caught:
            triton_grpc(server.address, "patient", X)
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert codes(refused) == {"queue_full": 8}
    assert statuses(refused) == {429: 8}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    wait(waiting)
    assert codes(one.result() for one in (*handed_over, *waiting)) == {"ok": 6, "queue_full": 8}


@pytest.mark.parametrize("known", [True, False])
def test_a_grpc_request_that_finds_no_room_is_refused_before_it_is_whole_if_its_form_is_known(
    server: Server, known: bool
) -> None:
    rows = 2 if known else 3
    message = grpc_request("patient", np.ones((rows, 4), np.float32)).SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    path, headers = "/inference.GRPCInferenceService/ModelInfer", GRPC
    for _ in range(2 if known else 0):  # the first shows the form, the second what it needs
        assert ask(server.address, path, body, headers).grpc_status == 0
    before = outcomes(server.url, "patient").get("queue_full", 0)
    with Crowd(server.address) as crowd, frozen(server.engine("patient")):
        others = []
        for batches in (1, 2):
            others.append(crowd.ask("patient"))
            _until(server, "running_batches", batches)
        # With room for it, the rest is waited for.
        with pytest.raises(TimeoutError):
            ask(server.address, path, body, headers, only=len(body) - 4, timeout_s=0.5)
        others += [crowd.ask("patient") for _ in range(4)]
        _until(server, "queue_length", 4)
        if known:
            answer = ask(server.address, path, body, headers, only=len(body) - 4)
            assert answer.grpc_status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert "wait already" in answer.grpc_message.replace("%20", " ")
            until(lambda: outcomes(server.url, "patient").get("queue_full") == before + 1)
            # What HTTP/1.1 has begun must end, or its connection: the answer could be lost with it.
            _say_nothing_to(server, path, body)
        else:
            with pytest.raises(TimeoutError):
                ask(server.address, path, body, headers, only=len(body) - 4, timeout_s=0.5)
            assert outcomes(server.url, "patient").get("queue_full", 0) == before
    wait(others)
    assert ask(server.address, path, body, headers).grpc_status == 0


def _say_nothing_to(server: Server, path: str, body: bytes) -> None:
    """Send all but the end of a browser's request, and wait in vain."""
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web+proto\r\n"
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=0.5) as stream:
        stream.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:-4])
        with pytest.raises(TimeoutError):
            stream.recv(1)


def test_a_large_request_that_finds_no_room_leaves_none_of_its_parts_behind(
    server: Server,
) -> None:
    before = _rows(server, "patient")
    with Crowd(server.address) as crowd, frozen(server.engine("patient")):
        others = []
        for batches in (1, 2):
            others.append(crowd.ask("patient"))
            _until(server, "running_batches", batches)
        for length in (1, 2, 3):
            others.append(crowd.ask("patient"))
            _until(server, "queue_length", length)
        large = crowd.ask("patient", rows=100).result()  # of its 25 batches one finds room
        assert large.code == "queue_full"
        assert _gauge(server, "queue_length") == 3
    wait(others)
    assert _rows(server, "patient") - before == 5


def test_a_request_of_more_batches_than_may_wait_is_answered_whole(server: Server) -> None:
    with Crowd(server.address) as crowd:
        assert crowd.ask("patient", rows=100).result().status == 200


def test_the_server_takes_no_more_requests_at_once_than_it_was_told(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "slow.fake")
    limit = {"HEADRACE_SERVER__MAX_INFLIGHT": "6"}
    with Server(model, environment=limit) as server, Crowd(server.address) as crowd:
        with frozen(server.engine("slow")):
            asked = [crowd.ask("slow") for _ in range(10)]
            until(lambda: sum(one.done() for one in asked) == 4)
            # Whoever asks how it is must be told, most of all now.
            for path in ("/livez", "/readyz", "/metrics"):
                assert http(f"{server.url}{path}")[0] == 200
            with tritonclient.grpc.InferenceServerClient(server.address) as client:
                assert client.is_server_live()
                assert client.is_model_ready("slow")
        answers = [one.result() for one in asked]
        assert codes(answers) == {"ok": 6, "queue_full": 4}
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) == 4
        assert all("6 requests are in the server already" in one.output for one in refused)
        assert metrics(server.url)['headrace_refused_total{outcome="queue_full"}'] == 4
        assert crowd.ask("slow").result().status == 200


def test_priority_decides_who_waits_longer(server: Server) -> None:
    order: list[str] = []
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        with frozen(server.engine("patient")):
            for batches in (1, 2):  # the lane and its next batch
                _send(client, order, "early", priority=0)
                _until(server, "running_batches", batches)
            _send(client, order, "low", priority=2000)
            _until(server, "queue_length", 1)
            _send(client, order, "high", priority=1, rows=4)  # a batch of its own
            _until(server, "queue_length", 2)
        until(lambda: len(order) == 4)
    assert order == ["early", "early", "high", "low"]


def test_one_of_a_high_priority_takes_the_place_of_a_low_one_in_a_full_queue(
    server: Server,
) -> None:
    order: list[str] = []
    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        with frozen(server.engine("patient")):
            for batches in (1, 2):
                _send(client, order, "early", priority=0)
                _until(server, "running_batches", batches)
            for waiting in (1, 2, 3, 4):
                _send(client, order, "low", priority=2000)
                _until(server, "queue_length", waiting)
            _send(client, order, "high", priority=1, rows=4)
            until(lambda: len(order) == 1)
            assert order[0].startswith("low: [StatusCode.RESOURCE_EXHAUSTED] dropped after")
            assert "which is full: a request of a higher priority came" in order[0]
            assert _gauge(server, "queue_length") == 4
        until(lambda: len(order) == 7)
    assert order[1:] == ["early", "early", "high", "low", "low", "low"]


def _send(
    client: tritonclient.grpc.InferenceServerClient,
    order: list[str],
    name: str,
    priority: int,
    rows: int = 1,
) -> None:
    tensor = tritonclient.grpc.InferInput("x", (rows, 4), "FP32")
    tensor.set_data_from_numpy(np.ones((rows, 4), np.float32))

    def told(result: object, error: InferenceServerException | None) -> None:
        order.append(name if error is None else f"{name}: {error}")

    client.async_infer("patient", [tensor], told, priority=priority)


def _until(server: Server, gauge: str, value: float) -> None:
    until(lambda: _gauge(server, gauge) == value)


def _gauge(server: Server, name: str, model: str = "patient") -> float:
    return metrics(server.url)[f'headrace_{name}{{model="{model}",version="1"}}']


def _rows(server: Server, model: str) -> float:
    return metrics(server.url)[f'headrace_batch_rows_sum{{model="{model}",version="1"}}']
