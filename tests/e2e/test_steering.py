"""A neighbour takes a core: lanes that only slow each other down become fewer, with the reason."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headrace.tuned import place, read
from headrace.values import DType
from tests.contract.models import node, write
from tests.e2e.clients import http, metrics, outcomes
from tests.e2e.crowd import Load
from tests.e2e.models import write_config
from tests.e2e.server import Server, until

# What other tests take of the cores would look like a neighbour, too.
pytestmark = [pytest.mark.slow, pytest.mark.alone]

COMMAND = (sys.executable, "-m", "headrace", "models")
LAYERS, WIDTH, ROWS = 12, 512, 128
ACTIVE = 'headrace_active_lanes{model="busy",version="1"}'


def write_busy(path: Path) -> Path:
    """A model, x (N,4) → y (N,4), that computes some milliseconds a row and needs little memory."""
    random = np.random.default_rng(0)
    wide = f"h{LAYERS}"
    return write(
        path,
        [
            node("MatMul", ["x", "spread"], ["spread_x"]),
            node("Reshape", ["spread_x", "narrow"], ["h0"]),
            *(node("MatMul", [f"h{n}", "w"], [f"h{n + 1}"]) for n in range(LAYERS)),
            node("Reshape", [wide, "whole"], ["flat"]),
            node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
            node("Add", ["x", "mean"], ["y"]),
        ],
        {"x": (DType.FP32, ("N", 4))},
        {"y": (DType.FP32, ("N", 4))},
        {
            "spread": np.ones((4, WIDTH * ROWS), np.float32),
            "w": (random.normal(size=(WIDTH, WIDTH)) / WIDTH).astype(np.float32),
            "narrow": np.array([-1, WIDTH]),
            "whole": np.array([-1, WIDTH * ROWS]),
        },
    )


@contextlib.contextmanager
def only_on(cores: set[int]) -> Iterator[None]:
    """Have what is started inside run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def neighbour(core: int) -> Iterator[None]:
    """A program that wants one core for itself."""
    with only_on({core}):
        program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def test_a_neighbour_that_takes_a_core_is_answered_with_one_lane_fewer(tmp_path: Path) -> None:
    model = write_busy(tmp_path / "busy.onnx")
    entry = {"path": model, "slo_ms": 300, "instances": 2, "max_batch": 4}
    config = write_config(tmp_path / "headrace.yaml", entry)
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("needs two cores")
    with contextlib.ExitStack() as stack:
        with only_on(set(cores)):
            server = stack.enter_context(Server("--config", config))
        assert metrics(server.url)[ACTIVE] == 2
        load = stack.enter_context(Load(server.address, "busy", clients=6))
        until(lambda: outcomes(server.url, "busy").get("ok", 0) > 100)
        with neighbour(cores[1]):
            until(lambda: metrics(server.url)[ACTIVE] == 1, timeout_s=40)
            server.wait_for("2 lanes do the work of")
        _, told, _ = http(f"{server.url}/models/busy/profile")
        assert any(one["what"] == "lanes" and one["reason"] for one in told["control"]["changes"])
        with only_on(set(cores)):
            frozen = subprocess.run(
                [*COMMAND, "freeze", "busy", str(model), "--url", server.url],
                capture_output=True,
                text=True,
                check=False,
            )
    assert frozen.returncode == 0, frozen.stderr
    assert read(place(model)).settings.threads == 1
    with only_on(set(cores)), Server(model, "--slo-ms", "300") as again:
        assert "  tuned: backend, precision" in again.output
    assert {answer.status for answer in load.answers} <= {200, 429, 504}
