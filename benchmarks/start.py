"""From the start of the process to its first answer, with the tiny model."""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator

from benchmarks import models
from benchmarks.figures import Figure
from headrace.testing import Server

_ROUNDS = 7
_WANTED_S = 2.0


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Start a server and ask it one thing, several times over."""
    model = models.folder(models.TINY)
    body = json.dumps({"input": models.requests(models.TINY)[0]["x"].tolist()}).encode()
    found = []
    for number in range(_ROUNDS):
        progress(f"start {number + 1} of {_ROUNDS}")
        with Server(model) as server:
            with urllib.request.urlopen(f"{server.url}/predict", body) as answer:  # noqa: S310
                json.load(answer)
            found.append(time.monotonic() - server.started_s)
    yield Figure(
        "from start to first answer, tiny model",
        statistics.median(found),
        "s",
        _WANTED_S,
        at_most=True,
        note=f"{min(found):.2f} to {max(found):.2f} s",
    )
