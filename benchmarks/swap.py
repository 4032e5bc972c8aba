"""A model of 100 MB is replaced while another serves: what the other's clients notice of it.

The other is at half of what it can do. Its p99 while the new model loads, warms up and takes over
is set against its p99 before, in one run.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import models
from benchmarks.figures import Figure
from headrace.load.arrivals import constant, poisson
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop, OpenLoop, Target
from headrace.load.report import make_report
from headrace.load.result import Result
from headrace.load.run import Sending, run
from headrace.testing import Server

_NEIGHBOUR, _LARGE = models.LIGHT, "resnet50"
_ROUNDS = 3
_SHARE = 0.5  # of what the neighbour can do
_CALLERS, _CAPACITY_S = 8, 6.0
_QUIET_S, _TOTAL_S, _WARM_S = 20.0, 75.0, 2.0
_LARGE_RPS = 2.0  # to the model that is replaced: none of these may fail
_WANTED_RATIO = 1.5
_MS = 1e3


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Replace a large model beside a busy one."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        large = root / "models" / _LARGE
        for name in (_NEIGHBOUR, _LARGE):
            shutil.copytree(models.folder(name), root / "models" / name)
        kept = {"HEADRACE_SERVER__CACHE_DIR": str(root / "cache")}
        yield from _swaps(root / "models", large, kept, progress)


def _swaps(
    repository: Path, large: Path, kept: dict[str, str], progress: Callable[[str], None]
) -> Iterator[Figure]:
    ratios, before_ms, during_ms, took_s, failed, sent = [], [], [], [], 0, 0
    with Server(
        repository, "--model-control", "explicit", environment=kept, timeout_s=120.0
    ) as server:
        target = _target(server, _NEIGHBOUR)
        for number in range(_ROUNDS):
            progress(f"what {_NEIGHBOUR} can do, round {number + 1} of {_ROUNDS}")
            capacity_rps = make_report(run(ClosedLoop(_CALLERS, _CAPACITY_S), target)).per_s
            progress(f"{_LARGE} is replaced, round {number + 1} of {_ROUNDS}")
            # Another time of writing: to the server that is another model.
            os.utime(large / "1" / "model.onnx")
            swap = _Swap(server)
            neighbour = poisson(_SHARE * capacity_rps, _TOTAL_S, seed=number)
            with (
                Sending(OpenLoop(neighbour), target) as sending,
                Sending(
                    OpenLoop(constant(_LARGE_RPS, _TOTAL_S)), _target(server, _LARGE)
                ) as others,
            ):
                began_s = sending.wait_started()
                others.wait_started()
                swap.start(began_s + _QUIET_S)
                results = sending.result(), others.result()
            start_s, end_s = (moment - began_s for moment in swap.join())
            before_ms.append(_p99_ms(results[0], _WARM_S, start_s))
            during_ms.append(_p99_ms(results[0], start_s, end_s))
            ratios.append(during_ms[-1] / before_ms[-1])
            took_s.append(end_s - start_s)
            failed += sum(int(np.count_nonzero(result.outcome)) for result in results)
            sent += sum(map(len, results))
    yield Figure(
        f"{_LARGE} is replaced: p99 of {_NEIGHBOUR} meanwhile, of its p99 before",
        statistics.median(ratios),
        "",
        _WANTED_RATIO,
        at_most=True,
        note=f"{statistics.median(during_ms):.1f} ms, before {statistics.median(before_ms):.1f} ms,"
        f" at half of {capacity_rps:.0f}/s; ratios {', '.join(f'{r:.2f}' for r in ratios)}",
    )
    yield Figure(
        f"{_LARGE} is replaced: requests that failed, of both",
        float(failed),
        "",
        0,
        at_most=True,
        note=f"of {sent}",
    )
    yield Figure(
        f"{_LARGE} is replaced: from the order until it is done", statistics.median(took_s), "s"
    )


class _Swap:
    """Orders the large model to be loaded anew, at a moment, in a thread."""

    def __init__(self, server: Server) -> None:
        self._url = f"{server.url}/v2/repository/models/{_LARGE}/load"
        self._thread: threading.Thread | None = None
        self._moments: tuple[float, float] | None = None

    def start(self, at_s: float) -> None:
        """Order it at that moment of the monotonic clock."""
        self._thread = threading.Thread(target=self._run, args=(at_s,))
        self._thread.start()

    def _run(self, at_s: float) -> None:
        time.sleep(max(0.0, at_s - time.monotonic()))
        started_s = time.monotonic()
        order = urllib.request.Request(self._url, data=b"{}", method="POST")  # noqa: S310 - ours
        with urllib.request.urlopen(order, timeout=_TOTAL_S):  # noqa: S310
            self._moments = started_s, time.monotonic()

    def join(self) -> tuple[float, float]:
        """When it was ordered and when it was done."""
        if self._thread is not None:
            self._thread.join()
        if self._moments is None:
            raise RuntimeError("the model was not replaced: see above")
        return self._moments


def _target(server: Server, name: str) -> Target:
    requests = models.requests(name)
    return make_target("oip-grpc", server.address, name, requests, timeout_s=30.0)


def _p99_ms(result: Result, start_s: float, end_s: float) -> float:
    """Of the requests that were to be sent in this time."""
    mine = (result.intended_s >= start_s) & (result.intended_s < end_s)
    return float(np.quantile((result.done_s - result.intended_s)[mine], 0.99)) * _MS
