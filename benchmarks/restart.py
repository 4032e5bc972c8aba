"""A second start of models of 100 MB, which finds what the first has compiled and measured.

It warms up less than the first; so the first request at a large size is set against the next ones.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import models
from benchmarks.figures import Figure
from headrace.client import Client
from headrace.testing import Server

_MODELS = {"resnet50": 102, "minilm-128": 90}  # MB of their files
_ROUNDS = 3
_ROWS = 4  # whose runs are long enough to be left out by a second warm-up
_WANTED_S, _WANTED_RATIO = 1.0, 1.5


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Start each once, and then again with what was kept."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _MODELS:
            model = Path(folder) / "models" / name
            shutil.copytree(models.folder(name), model)
            kept = {"HEADRACE_SERVER__CACHE_DIR": str(Path(folder) / "cache")}
            yield from _starts(name, model, kept, progress)


def _starts(
    name: str, model: Path, kept: dict[str, str], progress: Callable[[str], None]
) -> Iterator[Figure]:
    seconds, ratios = [], []
    for number in range(1 + _ROUNDS):
        progress(f"{name}, start {number + 1} of {1 + _ROUNDS}")
        with Server(model, environment=kept, timeout_s=120.0) as server:
            seconds.append(server.ready_s - server.started_s)
            first_s, *others = _asked(server, name)
            ratios.append(first_s / statistics.median(others))
    yield Figure(
        f"{name}, {_MODELS[name]} MB: start to ready, the second time",
        statistics.median(seconds[1:]),
        "s",
        _WANTED_S,
        at_most=True,
        note=f"the first time {seconds[0]:.2f} s; {min(seconds[1:]):.2f} to {max(seconds[1:]):.2f}",
    )
    yield Figure(
        f"{name}: then the first request of {_ROWS} rows, of the next ones",
        statistics.median(ratios[1:]),
        "",
        _WANTED_RATIO,
        at_most=True,
        note=f"{min(ratios[1:]):.2f} to {max(ratios[1:]):.2f}; after the first {ratios[0]:.2f}",
    )


def _asked(server: Server, name: str) -> list[float]:
    """How long requests of some rows take, one after the other."""
    inputs = {key: np.repeat(one, _ROWS, 0) for key, one in models.requests(name)[0].items()}
    seconds = []
    with Client(server.url) as client:
        for _ in range(1 + _ROUNDS):
            started_s = time.monotonic()
            client.infer(name, inputs)
            seconds.append(time.monotonic() - started_s)
    return seconds
