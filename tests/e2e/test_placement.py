"""Instances that are placed compute on cores of their own; those of a restarted engine, too."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.clients import http
from tests.e2e.models import write_config
from tests.e2e.server import Server, until
from tests.unit.zoo.shelf import model
from tests.unit.zoo.test_facts import GUITAR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BACKENDS = ("onnxruntime", "openvino")
SENTENCE = {
    "input_ids": [GUITAR],
    "attention_mask": [[1] * len(GUITAR)],
    "token_type_ids": [[0] * len(GUITAR)],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same network by both backends, with two instances on cores of their own, and by one."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("needs two cores")
    common = {"path": model("minilm-int8"), "max_batch": 2}
    common |= {"warm_shapes": {name: [[len(GUITAR)]] for name in SENTENCE}}
    placed = [
        {**common, "name": name, "backend": name, "instances": 2, "placement": "cores"}
        for name in BACKENDS
    ]
    free = {**common, "name": "free", "backend": "onnxruntime", "instances": 1}
    config = write_config(tmp_path_factory.mktemp("placed") / "headrace.yaml", *placed, free)
    with Server("--config", config) as running:
        yield running


def embed(server: Server, name: str) -> Any:
    """What a model makes of a sentence."""
    status, answer, _ = http(f"{server.url}/predict/{name}", {"inputs": SENTENCE})
    assert status == 200, answer
    return np.ravel(np.array(answer["output"]))


def told(server: Server, name: str) -> set[str]:
    """The cores of the instances of a model, as the server tells."""
    return set(life(server, name)["cores"])


def life(server: Server, name: str) -> Any:
    """What the server tells of a model."""
    return next(one for one in http(f"{server.url}/models")[1]["models"] if one["name"] == name)


def kept_to(pid: int) -> list[str]:
    """The cores of each thread of a process, as the kernel tells."""
    found = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            lines = status.read_text().splitlines()
        except OSError:  # it has ended
            continue
        found += [line.split()[1] for line in lines if line.startswith("Cpus_allowed_list")]
    return found


def computes_on_its_own(server: Server, name: str) -> None:
    """See each core of the instances as the only one of a thread, while they have work."""
    ended, expected = threading.Event(), told(server, name)
    assert len(expected) == 2

    def ask() -> None:
        while not ended.is_set():
            embed(server, name)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        pid = server.engine(name).pid
        until(lambda: expected <= set(kept_to(pid)))
    finally:
        ended.set()
        for client in clients:
            client.join()


@pytest.mark.parametrize("name", BACKENDS)
def test_each_instance_computes_on_a_core_of_its_own_and_answers_right(
    server: Server, name: str
) -> None:
    computes_on_its_own(server, name)
    mine, other = embed(server, name), embed(server, "free")
    assert mine @ other > 0.99 * np.linalg.norm(mine) * np.linalg.norm(other)


def test_a_model_without_a_placement_may_run_anywhere(server: Server) -> None:
    assert life(server, "free")["cores"] is None
    assert set(kept_to(server.engine("free").pid)) == set(kept_to(os.getpid()))


def test_the_instances_of_a_restarted_engine_have_the_same_cores(server: Server) -> None:
    before, dead = told(server, "onnxruntime"), server.engine("onnxruntime")
    dead.kill()
    server.wait_for("engine_died")
    until(lambda: server.engine("onnxruntime").pid != dead.pid)
    embed(server, "onnxruntime")
    assert told(server, "onnxruntime") == before
    computes_on_its_own(server, "onnxruntime")


def test_who_starts_the_server_sees_the_cores(server: Server) -> None:
    first, second = sorted(told(server, "openvino"))
    assert any(
        f"on cores {a} | {b}" in server.output for a, b in ((first, second), (second, first))
    )
