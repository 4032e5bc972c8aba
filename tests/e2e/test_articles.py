"""The clients that articles have: they run as they are, against a server of ours."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.server import Server

EXAMPLES = Path(__file__).parents[2] / "examples"
ROW = [[1.0, 2.0, 3.0, 4.0]]
EXPECTED = np.array(ROW) @ (np.arange(12).reshape(4, 3) - 5) * 10


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_json_to_predict_is_answered_with_the_output(server: Server) -> None:
    said = run("article_predict.py", json.dumps(ROW), server.url)
    assert json.loads(said.removeprefix("output = ")) == EXPECTED.tolist()


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tensorflow", "tensorflow_serving"))),
    reason="tensorflow-serving-api is not installed",
)
def test_a_tensorflow_serving_client_is_answered(server: Server) -> None:
    address = server.endpoints[1].removeprefix("http://")
    said = run("article_tfserving.py", "linear", "x", json.dumps(ROW), address)
    assert json.loads(said.removeprefix("y = ")) == EXPECTED.tolist()


def test_programs_say_how_they_are_used() -> None:
    for program in ("article_predict.py",):
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / program)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert f"python examples/{program}" in done.stderr
