"""Our clients against KServe's own server, which writes null for what it does not say."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import headrace
from headrace.errors import ConnectionFailed, ModelNotFound
from tests.contract.clients import KINDS, opened

pytestmark = pytest.mark.slow

X = np.arange(4, dtype=np.float32).reshape(1, 4)
START_S = 60.0
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where it serves, by the scheme."""
    if importlib.util.find_spec("kserve") is None:  # imported, it would clash with tritonclient
        pytest.skip("kserve is not installed: make test installs it")
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [str(free.getsockname()[1]) for free in (one, other)]
    log = tmp_path_factory.mktemp("kserve") / "log"
    command = [sys.executable, "-m", "tests.conformance.kserve_server", *ports]
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        found = dict(zip(("http", "grpc"), (f"127.0.0.1:{port}" for port in ports), strict=True))
        try:
            for kind, address in found.items():
                _wait(kind, address, process, log)
            yield found
        finally:
            process.terminate()


def _wait(kind: str, address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until_s = time.monotonic() + START_S
    with opened(kind, address) as client:
        while time.monotonic() < until_s and process.poll() is None:
            try:
                if client.ready("list"):
                    return
            except ConnectionFailed:
                os.sched_yield()
    pytest.fail(f"KServe did not start: {log.read_text()[-2000:]}")


@every_kind
@pytest.mark.parametrize("model", ["array", "list"])
def test_kserve_is_asked_as_any_server(kind: str, model: str, addresses: dict[str, str]) -> None:
    with opened(kind, addresses[kind.removesuffix("-aio")]) as client:
        assert client.live()
        assert client.ready(model)
        assert client.metadata(model).name == model
        result = client.infer(model, {"x": X}, request_id="seven")
        np.testing.assert_array_equal(result.output, 2 * X)
        assert (result.model, result.version, result.id) == (model, "", "seven")
        with pytest.raises(ModelNotFound):
            client.infer("none", {"x": X})


@pytest.mark.parametrize("model", ["array", "list"])
def test_kserve_is_asked_in_json_too(model: str, addresses: dict[str, str]) -> None:
    with headrace.Client(f"http://{addresses['http']}", binary=False) as client:
        np.testing.assert_array_equal(client.infer(model, {"x": X}).output, 2 * X)
