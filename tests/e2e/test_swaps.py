"""One model in place of another, again and again: nothing of those before is left."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.e2e.clients import http
from tests.e2e.conftest import write_linear
from tests.e2e.server import Server, until

pytestmark = pytest.mark.slow

_FIRST, _MORE = 4, 6


def _held(server: Server, root: Path, run: Path) -> dict[str, int]:
    """What there is of it; not threads, whose pools fill up to their bounds with the first uses."""
    supervisor, receiver = psutil.Process(server.process.pid), server.receiver()
    return {
        "supervisor_fds": supervisor.num_fds(),
        "receiver_fds": receiver.num_fds(),
        "receiver_memory_files": _memory_files(receiver),
        "processes": len(server.children()),
        "run_files": len(list(run.rglob("*"))),
        "cache_entries": len(list((root / "cache").rglob("*"))),
    }


def _memory_files(process: psutil.Process) -> int:
    """How many slots of engines it has mapped."""
    return Path(f"/proc/{process.pid}/maps").read_text().count("/memfd:")


def test_swaps_leave_nothing_behind(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = write_linear(tmp_path / "models/linear/1/model.onnx", 1.0)
    run = Path(tempfile.mkdtemp(prefix="h-"))  # a socket's path is short
    request.addfinalizer(lambda: shutil.rmtree(run))
    environment = {
        "TMPDIR": str(run),
        "HEADRACE_SERVER__CACHE_DIR": str(tmp_path / "cache"),
    }
    flags = ("--model-control", "explicit", "--backend", "onnxruntime")
    with Server(tmp_path / "models", *flags, environment=environment) as server:

        def swap(times: int) -> None:
            for _ in range(times):
                os.utime(file)  # to the server that is another model
                status, answer, _ = http(f"{server.url}/v2/repository/models/linear/load", {})
                assert status == 200, answer
                status, answer, _ = http(f"{server.url}/predict", {"input": [[1, 2, 3, 4]]})
                assert status == 200, answer

        swap(_FIRST)
        before = _held(server, tmp_path, run)
        swap(_MORE)
        # The receiver may be closing the connection of the last request.
        until(lambda: _no_more(_held(server, tmp_path, run), before))


def _no_more(now: dict[str, int], before: dict[str, int]) -> bool:
    return all(now[name] <= before[name] for name in before)
