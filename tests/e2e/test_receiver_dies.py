"""A dead receiver comes back on the same ports; a dead supervisor leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
import pytest

from headrace.control import CONTROL_VARIABLE
from tests.e2e.clients import call_scribe, http, triton_grpc
from tests.e2e.crowd import BROKEN, Client, Load, statuses
from tests.e2e.media_models import write_media
from tests.e2e.models import write_fake, write_sleeper
from tests.e2e.server import Server, frozen, has_ended, until

pytestmark = pytest.mark.slow

X = np.ones((1, 4), np.float32)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Two models on two ports."""
    write_fake(tmp_path / "one.fake", scale=2)
    write_sleeper(tmp_path)
    with Server(tmp_path, "--listen", "127.0.0.1:0") as running:
        yield running


def test_a_killed_receiver_comes_back_on_the_same_ports_with_the_same_engines(
    server: Server,
) -> None:
    engines = {child.pid for child in server.children("headrace.engine.worker")}
    with Load(server.address, "one", clients=4) as load:
        for deaths in (1, 2):
            until(lambda: len(load.answers) > 20)
            server.receiver().kill()
            server.wait_for(rf"(?s)(receiver_died.*){{{deaths}}}")
            until(lambda: all(_ready(url) for url in server.endpoints))
            load.answers.clear()
            until(lambda: len(load.answers) > 20)
    for url in server.endpoints:
        address = url.removeprefix("http://")
        np.testing.assert_allclose(triton_grpc(address, "one", X), 2 * X)
        np.testing.assert_allclose(triton_grpc(address, "sleeper", X), X)
    assert {child.pid for child in server.children("headrace.engine.worker")} == engines
    assert statuses(load.answers).keys() <= {200, BROKEN}
    assert load.answers[-1].output == [[2.0] * 4]


def test_what_the_next_receiver_cannot_serve_has_failed_and_the_others_serve(
    tmp_path: Path,
) -> None:
    write_fake(write_media(tmp_path) / "one" / "1" / "model.fake", scale=2)
    with Server(tmp_path) as server:
        receiver = server.receiver()
        run = Path(receiver.environ()[CONTROL_VARIABLE]).parent
        [copy] = run.glob("tokenizer-*")
        copy.unlink()
        receiver.kill()
        server.wait_for("receiver_died")
        until(lambda: "the receiver cannot serve it: " in _reason(server.url, "tokens"))
        until(lambda: _ready(server.url))
        np.testing.assert_allclose(triton_grpc(server.address, "one", X), 2 * X)
        until(lambda: len(server.children("headrace.engine.worker")) == 3)


def test_a_receiver_that_dies_while_an_engine_restarts_finds_the_new_engine(
    server: Server,
) -> None:
    engine, receiver = server.engine("one"), server.receiver()
    with frozen(receiver):
        engine.kill()
        until(lambda: server.engine("one").pid != engine.pid)
        receiver.kill()
    server.wait_for("receiver_died")
    until(lambda: _ready(server.url))  # which does not wait for an engine that restarts
    until(lambda: http(f"{server.url}/v2/models/one/ready")[0] == 200)
    np.testing.assert_allclose(triton_grpc(server.address, "one", X), 2 * X)


def test_a_receiver_that_hears_late_of_a_new_engine_serves_it(server: Server) -> None:
    engine = server.engine("one")
    with frozen(server.receiver()):
        engine.kill()
        server.wait_for(r"(?s)(one version 1: .*){2}")
    np.testing.assert_allclose(triton_grpc(server.address, "one", X), 2 * X)


def test_a_killed_nursery_takes_no_engine_along_and_the_next_one_has_another(
    server: Server,
) -> None:
    (nursery,) = server.children("headrace.engine.nursery")
    engine = server.engine("one")
    nursery.kill()
    server.wait_for("nursery_died")
    np.testing.assert_allclose(triton_grpc(server.address, "one", X), 2 * X)
    engine.kill()
    server.wait_for(r"(?s)(one version 1: .*){2}")
    np.testing.assert_allclose(triton_grpc(server.address, "one", X), 2 * X)
    (second,) = server.children("headrace.engine.nursery")
    assert server.engine("one").ppid() == second.pid


@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_supervisor_leaves_no_process(server: Server, busy: bool) -> None:
    call_scribe(server.url, "one")
    children = server.children()
    assert len(children) == 5  # nursery, engines, receiver, scribe
    client = Client(server.address)
    if busy:
        client.send("sleeper", rows=50)
    server.process.kill()
    until(lambda: all(map(has_ended, children)))
    client.close()


def test_a_supervisor_killed_with_words_unread_leaves_no_process(tmp_path: Path) -> None:
    """Its end is then not the end of a conversation for the receiver, but an error in it."""
    model = write_fake(tmp_path / "one.fake")
    with Server(model, "--model-control", "explicit") as server:
        children = server.children()
        host, _, port = server.address.rpartition(":")
        with (
            contextlib.closing(HTTPConnection(host, int(port))) as client,
            frozen(psutil.Process(server.process.pid)),
        ):
            client.request("POST", "/v2/repository/models/one/load", "{}")
            for _ in range(5):  # whoever is answered now came after that was passed on
                assert http(f"{server.url}/livez")[0] == 200
            server.process.kill()
        until(lambda: all(map(has_ended, children)))


def test_a_supervisor_killed_while_it_loads_leaves_nothing(tmp_path: Path) -> None:
    model = write_fake(tmp_path / "slow.fake", load_ms=60_000)
    server = Server(model, environment={"HEADRACE_SERVER__LOG_LEVEL": "debug"})
    server.start()
    try:
        server.wait_for(re.compile('"step":"loading"'))
        until(lambda: len(server.children()) == 3)  # nursery, engine, receiver
        children = server.children()
        server.process.kill()
        until(lambda: all(map(has_ended, children)))
        assert server.children() == []
    finally:
        server.kill()


def test_what_the_receiver_logs_has_the_form_that_was_asked_for(server: Server) -> None:
    server.process.kill()
    server.wait()
    last = json.loads(server.output.splitlines()[-1])
    assert (last["event"], last["level"]) == ("supervisor_gone", "error")


def _reason(url: str, model: str) -> str:
    try:
        states = http(f"{url}/models")[1]["models"]
    except OSError:
        return ""
    return "".join(one["reason"] for one in states if one["name"] == model)


def _ready(url: str) -> bool:
    try:
        return http(f"{url}/v2/health/ready")[0] == 200
    except OSError:
        return False
