"""How the command ends: when a person does not wait for its server, or a proxy has none."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from headrace import INTERRUPTED_STATUS

pytestmark = pytest.mark.slow


class Proxy(HTTPServer):
    """In front of a server that is away for a while after its first answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Away)
        self.statuses = [200, 502, 503, 504, 200]
        self.is_back = threading.Event()


class _Away(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b'{"models": []}' if status == 200 else b"<h1>Bad Gateway</h1>")
        if not self.server.statuses:
            self.server.is_back.set()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _interrupted(*arguments: str) -> tuple[int, str, str]:
    """Its status and what it printed when Ctrl-C comes before the answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        asking = subprocess.Popen(
            [sys.executable, "-m", "headrace", "models", *arguments, "--url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            asking.send_signal(signal.SIGINT)
            out, err = asking.communicate(timeout=30)
    return asking.returncode, out, err


@pytest.mark.parametrize(
    "arguments",
    [["load", "m"], ["unload", "m"], ["label", "m", "stable=1"], ["slow"], ["--json"], []],
    ids=" ".join,
)
def test_ctrl_c_before_the_answer_is_no_success(arguments: list[str]) -> None:
    assert _interrupted(*arguments) == (INTERRUPTED_STATUS, "", "")


def test_a_watch_that_nobody_has_answered_ends_well_with_ctrl_c_too() -> None:
    assert _interrupted("--watch") == (0, "", "")


def test_a_watch_waits_for_a_server_that_a_proxy_says_is_away() -> None:
    with Proxy() as proxy:
        serving = threading.Thread(target=proxy.serve_forever)
        serving.start()
        url = f"http://127.0.0.1:{proxy.server_port}"
        watching = subprocess.Popen(
            [sys.executable, "-m", "headrace", "models", "--watch", "--url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        came_back = proxy.is_back.wait(30)
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=30)
        proxy.shutdown()
        serving.join()
    assert (came_back, watching.returncode, err) == (True, 0, "")
