"""Tests run two at a time; those marked ``alone`` run while no other does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Share the machine with the tests of other workers, or have it alone."""
    if "PYTEST_XDIST_WORKER" not in os.environ:  # one test after the other
        yield
        return
    kind = fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH
    of_all_workers = tmp_path_factory.getbasetemp().parent
    with (of_all_workers / "machine.lock").open("w") as lock:
        fcntl.flock(lock, kind)
        yield
