"""A server for the pages that describe what a running one says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.models import write_fake
from tests.e2e.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one double, x (N,4) → y (N,4), called ``echo``."""
    folder = tmp_path_factory.mktemp("models")
    with Server(write_fake(folder / "echo" / "1" / "model.fake").parents[1]) as running:
        yield running
