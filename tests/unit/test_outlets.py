"""A process of the server writes to its standard streams, and goes on whatever becomes of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

WRITES = """
import os, socket, sys
from headrace.outlets import open_outlets
open_outlets()
with socket.socket() as another:
    first = another.fileno()
for number in range(3):
    print("said", flush=True)
    print("complained", file=sys.stderr, flush=True)
sys.exit(7 if first > 2 else 1)
"""


def _write(redirected: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f'exec "$0" "$@" {redirected}', sys.executable, "-c", WRITES]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize(
    "redirected",
    [">/dev/full 2>&1", "> >(true) 2>&1", ">&-", "2>&-", "<&- >&- 2>&-", "</dev/full >&0 2>&0"],
    ids=["full", "no reader", "no output", "no error", "nothing", "only for reading"],
)
def test_what_cannot_be_written_is_lost(redirected: str) -> None:
    assert _write(redirected).returncode == 7


def test_what_can_is_written_at_once() -> None:
    ran = _write("")
    assert (ran.stdout, ran.stderr) == ("said\n" * 3, "complained\n" * 3)


def test_streams_that_somebody_has_replaced_stay() -> None:
    code = "import io, sys; from headrace.outlets import open_outlets; sys.stdout = io.StringIO()\n"
    code += "ours = sys.stdout; open_outlets(); sys.exit(0 if sys.stdout is ours else 1)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_buffer_nothing_waits_for_the_end() -> None:
    code = "import os; from headrace.outlets import open_outlets; open_outlets()\n"
    code += "print('said', end=''); os._exit(0)"
    ran = subprocess.run([sys.executable, "-u", "-c", code], capture_output=True, check=True)
    assert ran.stdout == b"said"
