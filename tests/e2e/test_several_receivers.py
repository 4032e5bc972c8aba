"""Several receivers behind one port: clients notice nothing of it, not even when one dies."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.clients import http, metrics, outcomes
from tests.e2e.crowd import BROKEN, Client, Load, statuses
from tests.e2e.media_models import WORDS, write_media, write_tokenizer
from tests.e2e.models import write_config, write_fake, write_sum
from tests.e2e.server import Server, frozen, until

pytestmark = pytest.mark.slow

# So many connections do not all go to one of two receivers: 2^-19 of the time.
_MANY = 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A quick model behind two receivers, on two ports."""
    write_fake(tmp_path / "models/m.fake", base_ms=1)
    with Server(tmp_path / "models", "--receivers", "2", "--listen", "127.0.0.1:0") as running:
        yield running


def _receivers(server: Server) -> list[psutil.Process]:
    return server.children("envoy --config-path")


@contextlib.contextmanager
def _clients(server: Server) -> Iterator[None]:
    """Connections to both receivers, open in the context; each has been answered."""
    clients = [Client(server.address) for _ in range(_MANY)]
    try:
        assert {client.ask("m").status for client in clients} == {200}
        yield
    finally:
        for client in clients:
            client.close()


def test_both_take_connections_and_whichever_is_asked_counts_for_both(server: Server) -> None:
    assert len(_receivers(server)) == 2
    port = int(server.address.rpartition(":")[2])
    with _clients(server):
        for one in _receivers(server):
            connections = one.connections("tcp")
            assert any(c.laddr[1] == port and c.status == "ESTABLISHED" for c in connections)
    with _clients(server):
        pass
    for _ in range(10):  # each over a connection of its own
        status, page, _ = http(f"{server.url}/v2/models/m/stats")
        assert status == 200
        assert page["model_stats"][0]["inference_stats"]["success"]["count"] == 2 * _MANY
        assert outcomes(server.url, "m") == {"ok": 2 * _MANY}
        recent = http(f"{server.url}/models/m/profile")[1]["seen"]["recent"]
        assert sum(recent["rows"]) == 2 * _MANY
        assert recent["ended_s"] == sorted(recent["ended_s"])
    assert len(http(f"{server.url}/slowest")[1]["requests"]) == 16
    page = http(f"{server.url}/metrics")[1]
    for name in ("receiver", "receiver-1"):  # the kernel deals connections out as it likes
        labels = f'model="",process="{name}",version=""'
        assert f"headrace_process_cpu_seconds_total{{{labels}}}" in page


def test_one_that_dies_takes_only_its_own_connections_and_comes_back_ready(server: Server) -> None:
    before = {one.pid for one in _receivers(server)}
    with Load(server.address, "m", clients=_MANY) as load:
        until(lambda: len(load.answers) > 100)
        _receivers(server)[0].kill()
        server.wait_for("receiver_died")
        until(lambda: len(_receivers(server)) == 2)
        for _ in range(200):  # whoever comes meanwhile is answered
            client = Client(server.address)
            assert client.ask("m").status in {200, BROKEN}
            client.close()
    found = statuses(load.answers)
    assert found.keys() <= {200, BROKEN}
    assert found[BROKEN] < _MANY + 20
    assert len(before & {one.pid for one in _receivers(server)}) == 1
    with _clients(server):
        pass


def test_what_a_dead_one_counted_of_a_model_goes_when_the_model_does(tmp_path: Path) -> None:
    for name in "mn":
        write_fake(tmp_path / f"models/{name}.fake")
    flags = ("--receivers", "2", "--share", "kernel", "--model-control", "explicit")
    with Server(tmp_path / "models", *flags) as server:
        with _clients(server):
            pass
        assert _counted(server) == {"m": _MANY, "n": 0}
        assert outcomes(server.url, "m") == {"ok": _MANY}
        _receivers(server)[0].kill()
        server.wait_for("receiver_died")
        until(lambda: len(_receivers(server)) == 2)
        assert _counted(server) == {"m": _MANY, "n": 0}
        assert http(f"{server.url}/v2/repository/models/m/unload", {})[0] == 200
        assert _counted(server) == {"n": 0}
        assert http(f"{server.url}/v2/repository/models/m/load", {})[0] == 200
        assert _counted(server) == {"m": 0, "n": 0}
        assert outcomes(server.url, "m") == {}


def test_moves_of_models_are_counted_on_when_no_receiver_is_left_that_saw_them(
    tmp_path: Path,
) -> None:
    write_fake(tmp_path / "models/m.fake")
    flags = ("--receivers", "2", "--model-control", "explicit")
    with Server(tmp_path / "models", *flags) as server:
        for order in ("unload", "load", "unload", "load"):
            assert http(f"{server.url}/v2/repository/models/m/{order}", {})[0] == 200
        for one in _receivers(server):  # of these the second lives when the first is back
            _replace(server, one)
        sample = 'headrace_model_moves_total{model="m",state="serving"}'
        assert metrics(server.url)[sample] == 3


def _replace(server: Server, receiver: psutil.Process) -> None:
    """Kill one of two; returns when another is in its place."""
    receiver.kill()
    until(lambda: _are_back(server, receiver.pid))


def _are_back(server: Server, gone: int) -> bool:
    """Whether there are two again, without that one, that listen."""
    receivers = _receivers(server)
    if gone in {one.pid for one in receivers}:
        return False
    port = int(server.address.rpartition(":")[2])
    return [_listens(one, port) for one in receivers] == [True, True]


def _listens(process: psutil.Process, port: int) -> bool:
    listening = [one for one in process.connections("tcp") if one.status == "LISTEN"]
    return port in {one.laddr[1] for one in listening}


def test_counts_of_a_model_that_has_changed_in_place_begin_anew(tmp_path: Path) -> None:
    file = write_fake(tmp_path / "models/m.fake")
    with Server(tmp_path / "models", "--receivers", "2") as server:
        with _clients(server):
            pass
        assert outcomes(server.url, "m") == {"ok": _MANY}
        _replace(server, _receivers(server)[0])
        assert outcomes(server.url, "m") == {"ok": _MANY}
        write_fake(file, outputs={"y": ["FP32", [None, 4]], "z": ["FP32", [None, 4]]})
        server.children("headrace.engine.worker m/")[0].kill()
        server.wait_for("(?s)model_changed_in_place.*model_changed_in_place")
        assert outcomes(server.url, "m") == {}


def _counted(server: Server) -> dict[str, int]:
    """How many inferences are counted of each model."""
    found = http(f"{server.url}/v2/models/stats")[1]["model_stats"]
    return {one["name"]: one["inference_stats"]["success"]["count"] for one in found}


def test_a_scrape_comes_though_a_receiver_does_not_answer(server: Server) -> None:
    with _clients(server):
        pass
    asked = http(f"{server.url}/v2/models/m/stats")[1]["model_stats"][0]["inference_count"]
    with frozen(_receivers(server)[0]):
        found = until(lambda: _stats(server))
    assert found == asked


def _stats(server: Server) -> int | None:
    """How many inferences are counted, if the receiver that is asked is not the frozen one."""
    try:
        status, page, _ = http(f"{server.url}/v2/models/m/stats", timeout_s=2)
    except OSError:
        return None
    count: int = page["model_stats"][0]["inference_count"]
    return count if status == 200 else None


def test_an_order_has_reached_all_when_it_is_done(tmp_path: Path) -> None:
    write_fake(tmp_path / "models/m.fake")
    flags = ("--receivers", "2", "--model-control", "explicit")
    with Server(tmp_path / "models", *flags) as server:
        for _ in range(2):
            assert http(f"{server.url}/v2/repository/models/m/unload", {})[0] == 200
            assert {_ask(server) for _ in range(_MANY)} == {404}
            assert http(f"{server.url}/v2/repository/models/m/load", {})[0] == 200
            assert {_ask(server) for _ in range(_MANY)} == {200}
        write_fake(tmp_path / "models/n.fake")
        status, refused, _ = http(f"{server.url}/v2/repository/models/n/load", {})
        assert status >= 400
        assert "share" in refused["error"]


def test_a_drain_loses_no_request_of_either(server: Server) -> None:
    with Load(server.address, "m", clients=_MANY) as load:
        until(lambda: len(load.answers) > 200)
        server.signal(signal.SIGTERM)
        load.join()
    assert server.wait(20) == 0
    assert statuses(load.answers) == {200: len(load.answers)}


def test_what_needs_one_receiver_is_refused_with_what_to_change(tmp_path: Path) -> None:
    write_sum(tmp_path / "sum")
    write_config(tmp_path / "headrace.yaml", {"path": str(tmp_path / "sum")}, receivers=2)
    server = Server(tmp_path / "headrace.yaml")
    server.start()
    try:
        assert server.wait(20) == 2
        assert "set server.receivers to 1" in server.output
    finally:
        server.kill()


def _ask(server: Server) -> int:
    client = Client(server.address)
    try:
        return client.ask("m").status
    finally:
        client.close()


def test_all_have_the_tokenizer_that_was_there_at_the_load(tmp_path: Path) -> None:
    folder = write_media(tmp_path) / "tokens"
    with Server(folder, "--receivers", "2", "--model-control", "explicit") as server:
        assert _tokens(server) == {(200, "[[2, 3, 4]]")}
        write_tokenizer(folder, (*WORDS[:2], *reversed(WORDS[2:])))
        _replace(server, _receivers(server)[0])
        assert _tokens(server) == {(200, "[[2, 3, 4]]")}
        assert _load_tokens(server)[0] == 200
        assert _tokens(server) == {(200, "[[4, 3, 2]]")}
        (folder / "tokenizer.json").unlink()
        status, answer = _load_tokens(server)
        assert status == 500
        assert f"tokenizer {folder}/tokenizer.json: cannot be read: No such file" in str(answer)
        _replace(server, _receivers(server)[0])
        engine = server.engine("tokens")
        engine.kill()
        until(lambda: server.engine("tokens").pid != engine.pid)
        until(lambda: http(f"{server.url}/v2/models/tokens/ready")[0] == 200)
        assert _tokens(server) == {(200, "[[4, 3, 2]]")}


def _load_tokens(server: Server) -> tuple[int, Any]:
    return http(f"{server.url}/v2/repository/models/tokens/load", b"{}")[:2]


def _tokens(server: Server) -> set[tuple[int, str]]:
    """What connections are answered that do not all go to one receiver."""
    kind = {"content-type": "text/plain"}
    answers = [http(f"{server.url}/predict/tokens", b"the cat sat", kind) for _ in range(_MANY)]
    return {(status, str(answer.get("output"))) for status, answer, _ in answers}
