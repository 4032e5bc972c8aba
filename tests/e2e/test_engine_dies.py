"""A dead engine takes no request with it, and no other model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.e2e.clients import http, metrics, triton_grpc
from tests.e2e.crowd import Crowd, Load, codes
from tests.e2e.models import write_fake
from tests.e2e.server import Server, frozen, until

pytestmark = pytest.mark.slow

POISON = 666.0
MAX_BATCH = 8
MOST_HANDED_OVER = 4 * MAX_BATCH  # two instances hold two batches each
X = np.ones((1, 4), np.float32)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """`fragile` dies of one value, `sturdy` of none; the third death within a minute is final."""
    write_fake(tmp_path / "fragile.fake", crash_at=POISON, scale=2, base_ms=2)
    write_fake(tmp_path / "sturdy.fake")
    limit = {"HEADRACE_SERVER__ENGINE_RESTART_LIMIT": "3"}
    options = ("--instances", "2", "--max-batch", str(MAX_BATCH))
    with Server(tmp_path, *options, environment=limit) as running:
        yield running


def test_a_killed_engine_is_replaced_and_no_request_is_lost(server: Server) -> None:
    with Load(server.address, "fragile") as struck, Load(server.address, "sturdy") as other:
        until(lambda: len(struck.answers) > 50)
        dead = server.engine("fragile")
        dead.kill()
        server.wait_for("engine_died")
        until(lambda: server.engine("fragile").pid != dead.pid)
        before, before_other = len(struck.answers), len(other.answers)
        until(lambda: len(struck.answers) > before + 100)
        until(lambda: len(other.answers) > before_other + 100)
    assert codes(struck.answers) == {"ok": len(struck.answers)}
    assert codes(other.answers) == {"ok": len(other.answers)}
    assert {str(answer.output) for answer in struck.answers} == {str([[2.0] * 4])}
    assert "was killed by SIGKILL" in server.output
    assert _ready(server)


def test_requests_that_come_while_it_restarts_wait_for_it_or_for_their_deadline(
    server: Server,
) -> None:
    with Crowd(server.address) as crowd:
        with frozen(server.engine("fragile")):
            asked = [crowd.ask("fragile") for _ in range(MOST_HANDED_OVER + 8)]
            until(lambda: _gauge(server, "queue_length") > 0)
            server.engine("fragile").kill()
            server.wait_for("engine_died")
            body, headers = {"input": X.tolist()}, {"Headrace-Timeout-Ms": "10"}
            status, _, head = http(f"{server.url}/predict/fragile", body, headers)
        assert codes(one.result() for one in asked) == {"ok": len(asked)}
    assert (status, head["headrace-error"]) == (504, "expired")


def test_what_kills_its_engine_fails_and_those_beside_it_do_not(server: Server) -> None:
    first = server.engine("fragile")
    with Crowd(server.address) as crowd:
        with frozen(first):
            beside = []
            for batches in range(1, 5):
                beside.append(crowd.ask("fragile"))
                _until(server, "running_batches", batches)
            beside += [crowd.ask("fragile") for _ in range(5)]
            poison = crowd.ask("fragile", POISON)
            beside += [crowd.ask("fragile") for _ in range(20)]
            _until(server, "queue_length", 26)
        answer = poison.result()
        assert (answer.status, answer.code) == (503, "engine_lost")
        assert "the engine died" in answer.output
        assert codes(one.result() for one in beside) == {"ok": len(beside)}
    assert server.output.count("engine_died") == 2  # it was tried once more, and never again
    np.testing.assert_allclose(triton_grpc(server.address, "fragile", X), 2 * X)


def test_an_engine_that_goes_with_files_written_over_in_place_comes_back_with_whole_ones(
    tmp_path: Path,
) -> None:
    file = tmp_path / "m.fake"
    write_fake(file, scale=2)
    limit = {"HEADRACE_SERVER__ENGINE_RESTART_LIMIT": "2"}
    with Server(tmp_path, environment=limit) as server:
        file.write_text("half a fi")
        server.engine("m").kill()
        until(lambda: server.output.count("engine_died") > 2)  # two successors have refused it
        write_fake(file, scale=3)
        status, answer, *_ = http(f"{server.url}/predict/m", {"input": [[1, 1, 1, 1]]})
    assert (status, answer) == (200, {"output": [[3.0] * 4]})
    assert "its engine died" not in server.output


def test_a_model_that_kills_its_engine_again_and_again_is_failed_and_the_others_go_on(
    server: Server,
) -> None:
    with Crowd(server.address) as crowd, Load(server.address, "sturdy", clients=2) as other:
        answers = [crowd.ask("fragile", POISON).result() for _ in range(2)]
        server.wait_for("model_failed")
        refused = crowd.ask("fragile").result()
    assert [answer.code for answer in answers] == ["engine_lost", "model_failed"]
    assert (refused.status, refused.code) == (503, "model_failed")
    assert "its engine died 3 times within 60 s" in refused.output
    with pytest.raises(InferenceServerException, match="died 3 times") as caught:
        triton_grpc(server.address, "fragile", X)
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    status, answer, _ = http(f"{server.url}/v1/models/fragile")
    assert status == 200
    version = answer["model_version_status"][0]
    assert version["state"] == "END"
    assert "died 3 times within 60 s" in version["status"]["error_message"]
    assert codes(other.answers) == {"ok": len(other.answers)}
    assert server.children("headrace.engine.worker fragile/") == []
    assert _ready(server)
    assert http(f"{server.url}/v2/models/fragile/ready")[0] == 503


def _ready(server: Server) -> bool:
    return http(f"{server.url}/v2/health/ready")[0] == 200


def _until(server: Server, gauge: str, value: float) -> None:
    until(lambda: _gauge(server, gauge) == value)


def _gauge(server: Server, name: str) -> float:
    return metrics(server.url)[f'headrace_{name}{{model="fragile",version="1"}}']
