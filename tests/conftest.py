"""Tests run three at a time, a file in one process; an ``alone`` one runs while no other does."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Whoever runs a test holds the machine, alone or with others, and comes to it through a door that
# is closed while somebody waits: or one that wants it alone would wait until by chance nobody else
# had it. Any two files will do.
_MACHINE, _DOOR = Path(__file__), Path(__file__).with_name("__init__.py")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Share the machine with the tests of other processes, or have it alone, fixtures and all."""
    kind = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with _MACHINE.open("rb") as machine:
        with _DOOR.open("rb") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(machine, kind)
        try:
            return (yield)
        finally:
            # Not left to the closing: what a test forked holds the file open too.
            fcntl.flock(machine, fcntl.LOCK_UN)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Say how a process of tests died."""
    if error is not None:
        from headrace.loader.engine_process import end_of  # noqa: PLC0415 - most runs need none

        sys.stderr.write(f"\na process of tests {end_of(node.gateway._io.popen.wait(10))}\n")


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    """Say at once in which test: a run that is ended does not come to its summary."""
    sys.stderr.write(f"in {crashitem}\n")


def pytest_configure() -> None:
    """Let programs that tests start hear Ctrl-C, and start as fast as they do elsewhere.

    ``nohup … &`` has Ctrl-C ignored. Images of containers often say that nothing compiled is kept;
    then every process of every server would compile all of Headrace again. And each would look for
    plugins of pydantic in all that is installed for tests, which have none.
    """
    # How long an example takes is the machine's: what it may not, a test's own timeout says. And
    # each run has the same: one found by chance would fail a change that has nothing to do with it.
    settings.register_profile("ours", deadline=None, derandomize=True)
    settings.load_profile("ours")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
