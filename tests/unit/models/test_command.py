"""How the command ends when a person does not wait for its server."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from headrace import INTERRUPTED_STATUS

pytestmark = pytest.mark.slow


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
