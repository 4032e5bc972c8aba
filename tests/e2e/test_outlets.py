"""What the server says has no place, or nobody to read it, any more: it serves all the same."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.e2e.clients import http
from tests.e2e.server import until

pytestmark = pytest.mark.slow

PRINTS = """
import sys

class Model:
    inputs = {"x": ("FP32", [None, 2])}
    outputs = {"y": ("FP32", [None, 2])}

    def infer(self, batch):
        print("to whom?", flush=True)
        print("to whom?", file=sys.stderr, flush=True)
        return {"y": batch["x"]}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(url: str) -> bool:
    try:
        return http(f"{url}/readyz")[0] == 200
    except OSError:
        return False


def _child(pid: int, name: str) -> psutil.Process:
    """The child that runs whose command has this in it."""

    def running() -> list[psutil.Process]:
        children = psutil.Process(pid).children(recursive=True)
        return [one for one in children if name in " ".join(one.cmdline())]

    return until(running)[0]


@pytest.mark.parametrize("place", ["a full disk", "a pipe that nobody reads", "nowhere"])
def test_it_serves_and_restarts_and_drains_when_nothing_can_be_said(
    place: str, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text(PRINTS)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "headrace", "serve", str(tmp_path / "model.py")]
    command += ["--name", "echo", "--port", str(port)]
    if place == "nowhere":
        command = ["bash", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *command]
    out: IO[str] | int = subprocess.PIPE
    if place == "a full disk":
        out = os.open("/dev/full", os.O_WRONLY)
    with subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as server:
        try:
            if server.stdout is not None:
                server.stdout.close()
            until(lambda: _is_ready(url) or server.poll() is not None)
            asked = {"input": [[1.0, 2.0]]}
            assert http(f"{url}/predict/echo", asked)[:2] == (200, {"output": [[1.0, 2.0]]})
            _child(server.pid, "headrace.engine.worker echo/").kill()
            until(lambda: http(f"{url}/predict/echo", asked)[0] == 200)
            _child(server.pid, "envoy --config-path").kill()
            until(lambda: _is_ready(url) or server.poll() is not None)
            server.terminate()
            assert server.wait(30) == 0
        finally:
            server.kill()
            if isinstance(out, int) and out > 0:
                os.close(out)
