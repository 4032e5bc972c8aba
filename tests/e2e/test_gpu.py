"""A double of a GPU behind a whole server: two lanes that are one instance, on its own device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clients import http
from tests.e2e.crowd import Crowd, Load
from tests.e2e.models import write_fake
from tests.e2e.server import Server, until

pytestmark = [pytest.mark.slow, pytest.mark.alone]

COPY_MS, COMPUTE_MS = 30, 30


def test_while_a_batch_computes_the_next_is_copied(tmp_path: Path) -> None:
    path = write_fake(tmp_path / "m.fake", copy_ms=COPY_MS, base_ms=COMPUTE_MS, stages=2)
    with Server(path, "--device", "cuda:1", "--max-batch", "1") as server:
        (model,) = http(f"{server.url}/models")[1]["models"]
        assert (model["device"], model["instances"]) == ("cuda:1", 1)
        group = http(f"{server.url}/v2/models/m/config")[1]["instance_group"]
        assert group == [{"name": "m_0", "count": 1, "kind": "KIND_GPU", "gpus": [1]}]
        with Load(server.address, "m"):
            until(lambda: _ran(server)[0] >= 10)  # by now it is known that a run is shorter
            before = _ran(server)
            until(lambda: _ran(server)[0] >= before[0] + 20)
            count, took_s = (now - was for now, was in zip(_ran(server), before, strict=True))
    assert took_s / count < 0.8 * (COPY_MS + COMPUTE_MS) / 1e3


def test_two_requests_run_on_two_instances_at_once(tmp_path: Path) -> None:
    path = write_fake(tmp_path / "m.fake", base_ms=300, stages=2)
    options = ("--device", "cuda", "--instances", "2", "--max-batch", "1")
    with Server(path, *options) as server, Crowd(server.address) as crowd:
        at_once = 0
        for _ in range(6):
            answers = [one.result() for one in [crowd.ask("m") for _ in range(2)]]
            assert all(answer.status == 200 for answer in answers)
            at_once += max(answer.seconds for answer in answers) < 0.5
    assert at_once >= 3  # a busy machine may be late for some; one after the other none would be


def _ran(server: Server) -> tuple[float, float]:
    """How many batches have run, and how long they had their instance for themselves."""
    (runs,) = http(f"{server.url}/models/m/profile")[1]["seen"]["runs"] or [None]
    return (0, 0.0) if runs is None else (runs["count"], runs["infer_s"])
