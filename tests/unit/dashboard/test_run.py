from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from headrace.dashboard.run import _listener, is_own
from headrace.dashboard.watch import rest_s
from headrace.errors import StartError


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("myhost", False),
    ],
)
def test_only_loopback_is_our_own(host: str, own: bool) -> None:
    assert is_own(host) is own


def test_a_server_that_takes_long_to_tell_is_asked_less_often() -> None:
    assert rest_s(0.1) == pytest.approx(0.9)
    assert rest_s(2.0) == 8


def _dashboard(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace", "dashboard", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = _dashboard("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "--port" in done.stderr


@pytest.mark.parametrize("host", ["example..com", f"{'a' * 64}.com"])
def test_a_host_whose_name_is_none_is_told(host: str) -> None:
    with pytest.raises(StartError, match="--host"), _listener(host, 0):
        pass


@pytest.mark.slow
def test_an_address_that_is_none_is_told() -> None:
    done = _dashboard("ftp://somewhere")
    assert done.returncode == 2
    assert "ftp://somewhere" in done.stderr


@pytest.mark.slow
def test_without_nicegui_it_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['nicegui'] = None\n"
        "from headrace.cli import main; sys.exit(main(['dashboard']))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "pip install 'headrace[dashboard]'" in done.stderr
