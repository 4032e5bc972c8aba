"""Clients that leave, and time that runs out: nobody computes what nobody waits for."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import h2.connection
import h2.events
import numpy as np
import pytest

from tests.e2e import http2
from tests.e2e.clients import grpc_infer, grpc_request, http, metrics, outcomes
from tests.e2e.crowd import Client, Crowd
from tests.e2e.models import write_fake
from tests.e2e.server import Server, frozen, until

X = np.ones((1, 4), np.float32)
TIMEOUT_MS = 150


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A run takes so long that large batches pay, however noisy the warm-up: none is split here.
    model = write_fake(tmp_path_factory.mktemp("cancel") / "echo.fake", base_ms=3)
    with Server(model, "--instances", "1") as running:
        yield running
    assert "Traceback" not in running.output


class Numbers:
    """What the metrics say, since this was made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rows_before = self._rows()
        self._outcomes_before = outcomes(server.url, "echo")

    def _rows(self) -> float:
        return metrics(self._server.url)['headrace_batch_rows_sum{model="echo",version="1"}']

    @property
    def computed_rows(self) -> float:
        return self._rows() - self._rows_before

    def outcome(self, name: str) -> float:
        now = outcomes(self._server.url, "echo")
        return now.get(name, 0) - self._outcomes_before.get(name, 0)


@contextlib.contextmanager
def busy(server: Server) -> Iterator[None]:
    """Keep the model busy with two batches of one row inside the context: whoever comes waits."""
    with Crowd(server.address) as crowd, frozen(server.engine("echo")):
        for batches in (1, 2):
            crowd.ask("echo")
            _running(server, batches)
        yield


def _gauge(server: Server, name: str) -> float:
    return metrics(server.url)[f'headrace_{name}{{model="echo",version="1"}}']


def _running(server: Server, batches: int) -> None:
    until(lambda: _gauge(server, "running_batches") == batches)


def _waiting(server: Server, count: int) -> None:
    until(lambda: _gauge(server, "queue_length") == count)


@pytest.mark.parametrize("begun", [b"", b"{"])
def test_the_deadline_counts_while_a_body_is_awaited(server: Server, begun: bytes) -> None:
    refused = 'headrace_refused_total{outcome="expired"}'
    before = metrics(server.url).get(refused, 0)
    host, _, port = server.address.rpartition(":")
    head = "POST /predict/echo HTTP/1.1\r\nhost: a\r\nheadrace-timeout-ms: 50\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as stream:
        stream.sendall(f"{head}content-length: 9\r\n\r\n".encode() + begun)
        assert stream.recv(65536).startswith(b"HTTP/1.1 504 ")
    until(lambda: metrics(server.url).get(refused, 0) == before + 1)


def test_the_deadline_counts_while_a_message_is_awaited(server: Server) -> None:
    path = "/inference.GRPCInferenceService/ModelInfer"
    headers = (("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "50m"))
    answer = http2.ask(server.address, path, b"\0" * 99, headers, only=9, timeout_s=10)
    assert answer.grpc_status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert answer.headers["headrace-error"] == "expired"


def test_who_closes_an_http_connection_while_waiting_is_noticed_and_not_computed(
    server: Server,
) -> None:
    numbers = Numbers(server)
    with busy(server):
        leaver, stayer = Client(server.address), Client(server.address)
        leaver.send("echo", rows=7)
        _waiting(server, 1)
        stayer.send("echo", rows=3)
        _waiting(server, 2)
        leaver.close()
        _waiting(server, 1)
        assert numbers.outcome("cancelled") == 1
    assert stayer.receive().status == 200
    stayer.close()
    until(lambda: numbers.outcome("ok") == 3)
    assert numbers.computed_rows == 1 + 1 + 3


def test_a_cancelled_grpc_call_is_noticed_and_not_computed(server: Server) -> None:
    numbers = Numbers(server)
    with grpc.insecure_channel(server.address) as channel:
        infer = grpc_infer(channel)
        with busy(server):
            leaver = infer.future(grpc_request("echo", np.ones((7, 4), np.float32)))
            _waiting(server, 1)
            stayer = infer.future(grpc_request("echo", np.ones((3, 4), np.float32)))
            _waiting(server, 2)
            leaver.cancel()
            _waiting(server, 1)
            assert numbers.outcome("cancelled") == 1
        assert stayer.result().outputs[0].shape == [3, 4]
    until(lambda: numbers.outcome("ok") == 3)
    assert numbers.computed_rows == 1 + 1 + 3


def test_a_closed_grpc_channel_takes_all_its_calls_with_it(server: Server) -> None:
    numbers = Numbers(server)
    with busy(server):
        channel = grpc.insecure_channel(server.address)
        calls = [grpc_infer(channel).future(grpc_request("echo", X)) for _ in range(5)]
        _waiting(server, len(calls))
        channel.close()
        _waiting(server, 0)
        assert numbers.outcome("cancelled") == len(calls)
    until(lambda: numbers.outcome("ok") == 2)
    assert numbers.computed_rows == 2


def test_many_who_leave_at_once_are_all_noticed(server: Server) -> None:
    numbers = Numbers(server)
    with busy(server):
        clients = [Client(server.address) for _ in range(300)]
        for client in clients:
            client.send("echo")
        _waiting(server, 300)
        for client in clients:
            client.close()
        _waiting(server, 0)
        assert numbers.outcome("cancelled") == 300
    until(lambda: numbers.outcome("ok") == 2)
    assert numbers.computed_rows == 2


def _http_header(address: str) -> tuple[str, str]:
    headers = {"Headrace-Timeout-Ms": str(TIMEOUT_MS)}
    status, answer, head = http(f"http://{address}/predict/echo", {"input": X.tolist()}, headers)
    assert "deadline" in answer["error"]
    return str(status), head["headrace-error"]


def _oip_rest_parameter(address: str) -> tuple[str, str]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X.ravel().tolist()}
    body = {"inputs": [tensor], "parameters": {"timeout": TIMEOUT_MS * 1000}}
    status, _, head = http(f"http://{address}/v2/models/echo/infer", body)
    return str(status), head["headrace-error"]


def _oip_grpc_parameter(address: str) -> tuple[str, str]:
    return _raw_grpc(address, (), timeout=TIMEOUT_MS * 1000)


def _grpc_timeout(address: str) -> tuple[str, str]:
    return _raw_grpc(address, (("grpc-timeout", f"{TIMEOUT_MS}m"),))


def _raw_grpc(
    address: str, headers: tuple[tuple[str, str], ...], **parameters: int
) -> tuple[str, str]:
    message = grpc_request("echo", X, **parameters).SerializeToString()
    answer = http2.ask(
        address,
        "/inference.GRPCInferenceService/ModelInfer",
        b"\0" + len(message).to_bytes(4, "big") + message,
        (("content-type", "application/grpc"), ("te", "trailers"), *headers),
    )
    return f"grpc {answer.grpc_status}", answer.headers["headrace-error"]


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (_http_header, ("504", "expired")),
        (_oip_rest_parameter, ("504", "expired")),
        (_oip_grpc_parameter, ("grpc 4", "expired")),
        (_grpc_timeout, ("grpc 4", "expired")),
    ],
)
def test_time_that_runs_out_in_the_queue_is_told_in_time_and_nothing_is_computed(
    server: Server, ask: object, expected: tuple[str, str]
) -> None:
    numbers = Numbers(server)
    assert callable(ask)
    with busy(server):
        started_s = time.monotonic()
        assert ask(server.address) == expected
        assert TIMEOUT_MS / 1e3 <= time.monotonic() - started_s < 5
        assert _gauge(server, "queue_length") == 0
        assert numbers.outcome("expired") == 1
    until(lambda: numbers.outcome("ok") == 2)
    assert numbers.computed_rows == 2


def test_time_that_runs_out_while_it_is_computed_is_told_in_time_too(server: Server) -> None:
    numbers = Numbers(server)
    with frozen(server.engine("echo")):
        started_s = time.monotonic()
        assert _http_header(server.address) == ("504", "expired")
        assert TIMEOUT_MS / 1e3 <= time.monotonic() - started_s < 5
        assert numbers.outcome("expired") == 1
    _running(server, 0)


def test_the_sooner_of_several_timeouts_counts(server: Server) -> None:
    numbers = Numbers(server)
    with busy(server):
        later = (("grpc-timeout", "20S"),)
        sooner = TIMEOUT_MS * 1000
        assert _raw_grpc(server.address, later, timeout=sooner) == ("grpc 4", "expired")
    until(lambda: numbers.outcome("ok") == 2)


def test_a_real_grpc_client_sees_its_deadline_pass(server: Server) -> None:
    numbers = Numbers(server)
    with grpc.insecure_channel(server.address) as channel, busy(server):
        with pytest.raises(grpc.RpcError) as caught:
            grpc_infer(channel)(grpc_request("echo", X), timeout=TIMEOUT_MS / 1e3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        _waiting(server, 0)
        assert numbers.outcome("expired") + numbers.outcome("cancelled") == 1
    until(lambda: numbers.outcome("ok") == 2)
    assert numbers.computed_rows == 2


@pytest.mark.parametrize("spans", [False, True])
def test_who_cancels_most_of_its_calls_keeps_its_connection(tmp_path: Path, *, spans: bool) -> None:
    told = {"HEADRACE_SERVER__OTLP_ENDPOINT": "http://127.0.0.1:9"} if spans else {}
    with Server(write_fake(tmp_path / "echo.fake"), environment=told) as server:
        lines = [(":method", "GET"), (":scheme", "http"), (":authority", server.address)]
        lines.append((":path", "/v2/health/live"))
        client = h2.connection.H2Connection()
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as peer:
            client.initiate_connection()
            for _ in range(600):
                number = client.get_next_available_stream_id()
                client.send_headers(number, lines)
                client.reset_stream(number)
                peer.sendall(client.data_to_send())
            last = client.get_next_available_stream_id()
            client.send_headers(last, lines, end_stream=True)
            peer.sendall(client.data_to_send())
            events: list[Any] = []
            while not any(isinstance(event, h2.events.StreamEnded) for event in events):
                data = peer.recv(65536)
                assert data, "the connection was cut"
                events += client.receive_data(data)
                peer.sendall(client.data_to_send())
