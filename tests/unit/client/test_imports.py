from __future__ import annotations

import subprocess
import sys

import pytest

import headrace
from headrace.client import AsyncClient, Client, address
from headrace.errors import BackendMissing


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_imports_no_client_and_a_client_only_its_transport() -> None:
    out = _run(
        "import sys, headrace, headrace.receiver.asgi, headrace.engine.worker\n"
        "seen = {'headrace.client', 'grpc', 'httpcore'}\n"
        "print(sorted(seen & sys.modules.keys()))\n"
        "headrace.Client('http://localhost').close()\n"
        "print(sorted(seen & sys.modules.keys()))\n"
        "print(sorted({'openvino', 'onnxruntime', 'structlog'} & sys.modules.keys()))\n"
    )
    assert out.splitlines()[:2] == ["[]", "['headrace.client', 'httpcore']"]


@pytest.mark.parametrize(("scheme", "name"), [("http", "httpcore"), ("grpc", "grpc")])
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_missing_library_names_the_extra(scheme: str, name: str, kind: str) -> None:
    out = _run(
        f"import sys, headrace\nsys.modules[{name!r}] = None\n"
        f"try: headrace.{kind}('{scheme}://localhost')\n"
        "except headrace.HeadraceError as error: print(type(error).__name__, error)\n"
    )
    assert out.strip() == f"BackendMissing the client needs {name}: pip install 'headrace[client]'"


def test_the_front_door_has_the_clients_and_nothing_else() -> None:
    assert headrace.Client is Client
    assert headrace.AsyncClient is AsyncClient
    with pytest.raises(AttributeError, match="Clint"):
        _ = headrace.Clint  # type: ignore[attr-defined]
    with pytest.raises(BackendMissing):
        address.library("no_such_library")
