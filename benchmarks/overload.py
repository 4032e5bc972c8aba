"""Poisson arrivals at 1.2 and 2 times of what the machine can do, with an objective of 50 ms.

Capacity is what a closed loop reaches on the same server just before and just after. Goodput is
answers within the objective, counted from the moment each request was meant to be sent. Refusals
are counted from there, and from when the request was really sent: the server's own part.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from benchmarks import models
from benchmarks.figures import Figure
from headrace.load.arrivals import poisson
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop, OpenLoop, Target
from headrace.load.report import Report, make_report
from headrace.load.run import run
from headrace.testing import Server

_ROUNDS = 3
_SLO_S = 0.05
_CALLERS = 8
_CAPACITY_S, _OVERLOAD_S, _WARM_S = 6.0, 12.0, 2.0
_LOADS = (1.2, 2.0)
_WANTED_SHARE, _REFUSAL_MS = 0.9, 5.0
_MS = 1e3


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Measure goodput, lateness and refusals past saturation."""
    for name in models.QUICK:
        with Server(models.folder(name), "--slo-ms", str(_SLO_S * _MS)) as server:
            target = make_target("oip-grpc", server.address, name, models.requests(name))
            _capacity(target)
            for load in _LOADS:
                reports, shares = [], []
                for number in range(_ROUNDS):
                    progress(f"{name} at {load:g}x, round {number + 1} of {_ROUNDS}")
                    before_rps = _capacity(target)
                    report = _overload(target, load * before_rps, seed=number)
                    after_rps = _capacity(target)
                    reports.append(report)
                    shares.append((report.goodput_per_s or 0.0) / ((before_rps + after_rps) / 2))
                yield from _figures(f"{name} at {load:g}x", shares, reports)


def _capacity(target: Target) -> float:
    return make_report(run(ClosedLoop(_CALLERS, _CAPACITY_S), target), warm_s=_WARM_S / 2).per_s


def _overload(target: Target, rate_rps: float, *, seed: int) -> Report:
    arrivals = poisson(rate_rps, _OVERLOAD_S, seed=seed)
    return make_report(run(OpenLoop(arrivals), target), slo_s=_SLO_S, warm_s=_WARM_S)


def _figures(name: str, shares: list[float], reports: list[Report]) -> Iterator[Figure]:
    offered = statistics.median(report.offered_per_s for report in reports)
    good = statistics.median(report.goodput_per_s or 0.0 for report in reports)
    spoiled = next((report.spoiled for report in reports if report.spoiled), "")
    yield Figure(
        f"{name}: goodput, share of capacity",
        statistics.median(shares),
        "",
        _WANTED_SHARE,
        note=f"{good:.0f} of {offered:.0f} offered/s {spoiled}",
    )
    answered_ms = [report.latency.p99_s * _MS for report in reports if report.latency]
    yield Figure(
        f"{name}: p99 of the answered",
        statistics.median(answered_ms),
        "ms",
        _SLO_S * _MS,
        at_most=True,
    )
    refused_ms = [r.refusal_latency.p99_s * _MS for r in reports if r.refusal_latency]
    yield Figure(
        f"{name}: p99 of refusals at arrival",
        statistics.median(refused_ms or [0.0]),
        "ms",
        _REFUSAL_MS,
        at_most=True,
        note=f"refused {sum(r.refused for r in reports)}, late {sum(r.late for r in reports)}, "
        f"failed {sum(r.failed for r in reports)} of {sum(r.planned for r in reports)}",
    )
    own_ms = [r.refusal_after_send.p99_s * _MS for r in reports if r.refusal_after_send]
    lag_ms = [r.lag_p99_s * _MS for r in reports if r.lag_p99_s is not None]
    yield Figure(
        f"{name}: p99 of refusals at arrival, from the send",
        statistics.median(own_ms or [0.0]),
        "ms",
        _REFUSAL_MS,
        at_most=True,
        note=f"the sender was {statistics.median(lag_ms or [0.0]):.1f} ms late at p99",
    )
