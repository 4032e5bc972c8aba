"""Large JSON bodies through every front that speaks JSON, and the scribe's life behind them."""

from __future__ import annotations

import gzip
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from tests.e2e.clients import call_scribe
from tests.e2e.models import write_fake
from tests.e2e.server import Server, frozen, has_ended, until

ROWS = 20_000
SHAPE = (ROWS, 4)
PATHS = {
    "tfserving": "/v1/models/m:predict",
    "plain": "/predict/m",
    "oip": "/v2/models/m/infer",
}
# So many connections do not all go to one of two receivers: 2^-19 of the time.
_MANY = 20
SCRIBE = "headrace.receiver.scribe.worker"
# Three of these bodies at once, at whichever batch size warm-up finds on a busy machine.
ROOM = {"HEADRACE_DEFAULTS__MAX_QUEUE": str(3 * ROWS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    write_fake(root / "m" / "1" / "model.fake", scale=2)
    return root / "m"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder, environment=ROOM) as running:
        yield running


def rows() -> list[list[float]]:
    values: list[list[float]] = np.random.default_rng(3).random(SHAPE).round(6).tolist()
    return values


def body(front: str, data: Any) -> bytes:
    if front == "oip":
        tensor = {"name": "x", "datatype": "FP32", "shape": list(SHAPE), "data": data}
        return json.dumps({"id": "7", "inputs": [tensor]}).encode()
    return json.dumps({"instances" if front == "tfserving" else "input": data}).encode()


def answer(front: str, reply: requests.Response) -> Any:
    assert reply.status_code == 200, reply.text[:500]
    value = reply.json()
    if front == "oip":
        assert value["id"] == "7"
        return np.reshape(value["outputs"][0]["data"], SHAPE)
    return np.asarray(value["predictions" if front == "tfserving" else "output"])


def scribe(server: Server) -> psutil.Process:
    """The scribe, awake."""
    call_scribe(server.url, "m")
    (found,) = server.children(SCRIBE)
    return found


@pytest.mark.slow
def test_the_first_large_body_calls_the_scribe_and_does_not_wait_for_it(folder: Path) -> None:
    with Server(folder) as server:
        reply = requests.post(server.url + PATHS["plain"], json={"input": [[1.0] * 4]}, timeout=60)
        assert answer("plain", reply).shape == (1, 4)
        assert server.children(SCRIBE) == []
        reply = requests.post(server.url + PATHS["plain"], body("plain", rows()), timeout=60)
        np.testing.assert_allclose(answer("plain", reply), np.asarray(rows()) * 2, rtol=1e-6)
        (called,) = until(lambda: server.children(SCRIBE))
        assert scribe(server).pid == called.pid


@pytest.mark.slow
def test_each_receiver_has_a_scribe_that_ends_with_it(folder: Path) -> None:
    with Server(folder, "--receivers", "2") as server:
        for _ in range(_MANY):  # over connections of their own, which fall where they like
            call_scribe(server.url, "m")
        both = server.children(SCRIBE)
        assert len(both) == 2
        server.receiver().kill()
        until(lambda: sum(map(has_ended, both)) == 1)
        assert "scribe_died" not in server.output


@pytest.mark.slow
@pytest.mark.parametrize("front", PATHS)
def test_a_large_body_is_answered(server: Server, front: str) -> None:
    reply = requests.post(server.url + PATHS[front], body(front, rows()), timeout=60)
    np.testing.assert_allclose(answer(front, reply), np.asarray(rows()) * 2, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("front", PATHS)
@pytest.mark.parametrize("fault", ["ragged", "ragged, as many in all", "text", "null", "cut off"])
def test_a_mistake_deep_inside_is_told(server: Server, front: str, fault: str) -> None:
    data: list[list[Any]] = [*rows()]
    if fault.startswith("ragged"):
        data[15_000] = [*data[15_000], 1.0]
    if fault == "ragged, as many in all":
        data[15_001] = data[15_001][:3]
    if fault in {"text", "null"}:
        data[15_000] = [1.0, 2.0, 3.0, "4" if fault == "text" else None]
    text = body(front, data)
    reply = requests.post(
        server.url + PATHS[front], text[:-20] if fault == "cut off" else text, timeout=60
    )
    assert reply.status_code == 400
    said = {
        "text": "the JSON has strings",
        "null": "the JSON has null",
        "cut off": "JSON Parse error",
    }
    assert said.get(fault, "ragged") in reply.json()["error"]


@pytest.mark.slow
def test_many_examples_are_answered_and_a_mistake_among_them_is_told(server: Server) -> None:
    examples: list[dict[str, Any]] = [{"x": row} for row in rows()]
    url = f"{server.url}/v1/models/m:classify"
    reply = requests.post(url, json={"examples": examples}, timeout=60)
    assert reply.status_code == 200, reply.text[:500]
    scores = [[score for _, score in row] for row in reply.json()["results"]]
    np.testing.assert_allclose(scores, np.asarray(rows()) * 2, rtol=1e-6)
    for fault, words in (
        ({"x": [1.0] * 3}, "Index: 15000.  Number of float values"),
        ({"x": ["4"] * 4}, "the JSON has strings"),
        ([1.0] * 4, "must be JSON object"),
    ):
        wrong = [*examples[:15_000], fault, *examples[15_001:]]
        reply = requests.post(url, json={"examples": wrong}, timeout=60)
        assert reply.status_code == 400
        assert words in reply.json()["error"]


def generated(reply: requests.Response) -> Any:
    return reply.json()["y"]


def classified(reply: requests.Response) -> Any:
    return [[score for _, score in row] for row in reply.json()["results"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "asked", "read"),
    [
        ("/v2/models/m/generate", {"x": [[1.0, 2.0, 3.0, 4.0]] * ROWS}, generated),
        (
            "/v1/models/m:classify",
            {"context": {"x": [1.0, 2.0, 3.0, 4.0]}, "examples": [{}] * ROWS},
            classified,
        ),
    ],
    ids=["generate", "classify"],
)
def test_a_large_answer_to_a_body_the_receiver_reads_is_written_by_the_scribe(
    server: Server, path: str, asked: dict[str, Any], read: Callable[[requests.Response], Any]
) -> None:
    replies: list[requests.Response] = []
    url, text = server.url + path, json.dumps(asked, separators=(",", ":"))
    with frozen(scribe(server)):
        waiting = threading.Thread(
            target=lambda: replies.append(requests.post(url, text, timeout=60))
        )
        waiting.start()
        until(lambda: descriptors(server) >= 1)
        assert not replies
    waiting.join(60)
    (reply,) = replies
    assert reply.status_code == 200, reply.text[:500]
    assert np.ravel(read(reply)).tolist() == [2.0, 4.0, 6.0, 8.0] * ROWS


@pytest.mark.slow
def test_a_body_without_a_length_or_in_gzip_is_answered_too(server: Server) -> None:
    text = body("plain", rows())
    pieces = (text[at : at + 100_000] for at in range(0, len(text), 100_000))
    reply = requests.post(server.url + PATHS["plain"], pieces, timeout=60)
    assert answer("plain", reply).shape == SHAPE
    headers = {"content-encoding": "gzip"}
    zipped = gzip.compress(text, 1)
    reply = requests.post(server.url + PATHS["plain"], zipped, headers=headers, timeout=60)
    assert answer("plain", reply).shape == SHAPE


@pytest.mark.slow
def test_kill_9_of_the_scribe_loses_nothing(server: Server) -> None:
    killed = scribe(server)
    with frozen(killed):
        replies: list[requests.Response] = []
        url, text = server.url + PATHS["plain"], body("plain", rows())
        waiting = [
            threading.Thread(target=lambda: replies.append(requests.post(url, text, timeout=60)))
            for _ in range(3)
        ]
        for one in waiting:
            one.start()
        until(lambda: descriptors(server) >= 3)
        assert not replies
        killed.send_signal(signal.SIGKILL)
    for one in waiting:
        one.join(60)
    assert [answer("plain", reply).shape for reply in replies] == [SHAPE] * 3
    assert scribe(server).pid != killed.pid


def descriptors(server: Server) -> int:
    """How many bodies the receiver holds in memory files."""
    links = Path(f"/proc/{server.receiver().pid}/fd").glob("*")
    return sum("headrace-json" in link for link in map(_target, links))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed while we look
        return ""


@pytest.mark.slow
def test_nothing_is_left_of_a_body_that_was_answered(server: Server) -> None:
    requests.post(server.url + PATHS["plain"], body("plain", rows()), timeout=60)
    assert until(lambda: descriptors(server) == 0)


@pytest.mark.slow
def test_a_new_receiver_finds_the_scribe(server: Server) -> None:
    receiver = server.receiver()
    receiver.kill()
    until(lambda: has_ended(receiver))

    def back() -> bool:
        try:
            return requests.get(server.url + "/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    until(back)
    reply = requests.post(server.url + PATHS["plain"], body("plain", rows()), timeout=60)
    assert answer("plain", reply).shape == SHAPE


@pytest.mark.slow
def test_a_drain_waits_for_a_body_that_is_being_decoded(folder: Path) -> None:
    with Server(folder) as server:
        replies: list[requests.Response] = []
        url, text = server.url + PATHS["plain"], body("plain", rows())
        with frozen(scribe(server)):
            waiting = threading.Thread(
                target=lambda: replies.append(requests.post(url, text, timeout=60))
            )
            waiting.start()
            until(lambda: descriptors(server) >= 1)
            server.signal(signal.SIGTERM)
            server.wait_for("draining")
        waiting.join(60)
        assert answer("plain", replies[0]).shape == SHAPE
        assert server.wait() == 0


@pytest.mark.slow
def test_the_scribe_ends_with_the_supervisor_and_is_small(folder: Path) -> None:
    with Server(folder) as server:
        process = scribe(server)
        reply = requests.post(server.url + PATHS["plain"], body("plain", rows()), timeout=60)
        assert answer("plain", reply).shape == SHAPE
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "openvino" not in loaded
        assert "onnxruntime" not in loaded
        server.signal(signal.SIGKILL)
        assert until(lambda: has_ended(process))
