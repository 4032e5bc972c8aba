"""The load generator itself: how late it sends on one core, with the server on the other.

A server that is slow, or a sender that is late, is what it would measure; here the sender must not
be. The tiny model over gRPC, Poisson arrivals.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator

from benchmarks import models
from benchmarks.figures import Figure
from headrace.load.arrivals import poisson
from headrace.load.payload import make_target
from headrace.load.plan import OpenLoop, Target
from headrace.load.report import Report, make_report
from headrace.load.run import run
from headrace.testing import Server

_ROUNDS = 3
_RUN_S, _WARM_S = 10.0, 1.0
_RATES = (1_000, 5_000, 8_000)
_WANTED_RATE = 5_000
_WANTED_LAG_MS = 1.0
_MS = 1e3


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Measure the lag and the cost of sending, several times over; medians."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("generator: needs two cores, one for the server and one for the sender")
    own, others = {cores[0]}, set(cores[1:])
    folder = models.folder(models.TINY)
    found: dict[int, list[Report]] = {rate: [] for rate in _RATES}
    os.sched_setaffinity(0, others)
    try:
        with Server(folder) as server:  # which keeps the cores that we have now
            os.sched_setaffinity(0, own)
            target = make_target(
                "oip-grpc", server.address, models.TINY, models.requests(models.TINY)
            )
            for number in range(_ROUNDS):
                for rate in _RATES:
                    progress(f"{rate:,}/s, round {number + 1} of {_ROUNDS}")
                    found[rate].append(_run(target, rate, seed=number))
    finally:
        os.sched_setaffinity(0, cores)
    for rate, reports in found.items():
        yield from _figures(rate, reports)


def _run(target: Target, rate: int, *, seed: int) -> Report:
    arrivals = poisson(rate, _RUN_S, seed=seed)
    return make_report(run(OpenLoop(arrivals), target), warm_s=_WARM_S)


def _figures(rate: int, reports: list[Report]) -> Iterator[Figure]:
    lags_ms = [(report.lag_p99_s or 0.0) * _MS for report in reports]
    answered = sum(report.ok for report in reports) / sum(report.planned for report in reports)
    yield Figure(
        f"{rate:,} requests/s: late at p99",
        statistics.median(lags_ms),
        "ms",
        _WANTED_LAG_MS if rate == _WANTED_RATE else None,
        at_most=True,
        note=f"worst round {max(lags_ms):.2f}; {answered:.2%} answered",
    )
    used = statistics.median(report.sender_cpu for report in reports)
    yield Figure(
        f"{rate:,} requests/s: processor time a request",
        used / rate * 1e6,
        "µs",
        note=f"{used:.2f} of a core",
    )
