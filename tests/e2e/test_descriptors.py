"""A receiver that has no descriptor left for a moment loses no model and no request for longer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.clients import http
from tests.e2e.crowd import Client
from tests.e2e.models import write_config, write_fake
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

WIDE, OUTPUTS = 20_000, 250  # floats: 20 MB, more than the place of outputs in a slot
X = {"input": [[1.0] * 4]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """`a` serves, `b` is loaded when ordered, `wide` has outputs in memory files of their own."""
    for name in ("a", "b"):
        write_fake(tmp_path / f"{name}.fake")
    row = ["FP32", [None, WIDE]]
    outputs = {f"y{number}": row for number in range(OUTPUTS)}
    write_fake(tmp_path / "wide.fake", inputs={"x": row}, outputs=outputs)
    config = tmp_path / "config.yaml"
    models = [{"path": str(tmp_path / f"{name}.fake")} for name in ("a", "b", "wide")]
    models[1]["preload"] = False  # type: ignore[assignment]
    write_config(config, *models, model_control="explicit")
    with Server(config) as running:
        yield running


@contextlib.contextmanager
def _full(process: psutil.Process, free: int = 0) -> Iterator[None]:
    """Let a process open so many descriptors more, and no others, inside the context."""
    limits = process.rlimit(psutil.RLIMIT_NOFILE)
    most = 8  # what is opened gets the lowest number that is free: those are not
    if free:
        taken = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
        numbers = (number for number in range(limits[0]) if number not in taken)
        most = [next(numbers) for _ in range(free)][-1] + 1
    process.rlimit(psutil.RLIMIT_NOFILE, (most, limits[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, limits)


def _predict(server: Server, model: str) -> int:
    return http(f"{server.url}/predict/{model}", X, timeout_s=20)[0]


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_a_model_that_could_not_be_taken_in_serves_when_there_is_room(
    server: Server, free: int
) -> None:
    client = Client(server.address)
    assert client.ask("a").status == 200
    with contextlib.closing(client), _full(server.receiver(), free):
        refused = client.ask("b", headers={"headrace-timeout-ms": "1500"})
        assert refused.status in {503, 504} or free
    until(lambda: _predict(server, "b") == 200, timeout_s=10)
    unload = f"{server.url}/v2/repository/models/b/unload"
    assert http(unload, {}, timeout_s=10)[0] == 200


def test_an_engine_that_comes_back_while_there_is_no_room_is_not_missed(server: Server) -> None:
    assert _predict(server, "a") == 200
    with _full(server.receiver()):
        server.engine("a").kill()
        server.wait_for("could_not_obey")
    until(lambda: _predict(server, "a") == 200, timeout_s=10)


def test_outputs_that_cannot_be_taken_are_a_typed_error_and_cost_no_slot(server: Server) -> None:
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, WIDE], "data": [1] * WIDE}],
        "outputs": [{"name": "y0"}],
    }
    with httpx.Client(base_url=server.url, timeout=20) as client:
        path = "/v2/models/wide/infer"
        assert client.post(path, json=body).status_code == 200
        for free in (0, 1):
            with _full(server.receiver(), free):
                for _ in range(8):
                    answer = client.post(path, json=body)
                    assert answer.status_code == 503
                    assert "ulimit -n" in answer.json()["error"]
        assert client.post(path, json=body).status_code == 200


def test_connections_leave_descriptors_for_all_else(server: Server) -> None:
    """A receiver may have what whoever starts it may ask for: the second one has less."""
    psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE, (200, 400))
    first = server.receiver()
    first.kill()
    until(lambda: server.receiver().pid != first.pid)
    until(lambda: _ready(server))
    host, _, port = server.address.rpartition(":")
    with contextlib.ExitStack() as opened:
        client = opened.enter_context(contextlib.closing(Client(server.address)))
        assert client.ask("a").status == 200
        for _ in range(600):
            opened.enter_context(socket.create_connection((host, int(port)), timeout=5))
        assert client.ask("b").status == 200
        assert 200 < server.receiver().num_fds() < 400
        assert "could_not_obey" not in server.output
    until(lambda: _predict(server, "b") == 200, timeout_s=10)


def _ready(server: Server) -> bool:
    try:
        return http(f"{server.url}/readyz", timeout_s=5)[0] == 200
    except OSError:
        return False
