"""A program takes half of the cores of a busy server: what is still answered in time.

The lanes that run follow what their runs cost each other. That is set against the best fixed number
of lanes under the same load, in turns: all of them, and half. Goodput and p99 are of the time from
ten seconds after the neighbour has come; the load is what the server could do without.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks import models
from benchmarks.figures import Figure
from headrace.cores import usable_cores
from headrace.load.arrivals import poisson
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop, OpenLoop, Target
from headrace.load.report import Report, make_report
from headrace.load.run import Sending, run
from headrace.testing import Server

_ROUNDS = 3
_SLO_S = 0.1
_CALLERS, _CAPACITY_S, _WARM_S = 8, 6.0, 1.0
_ALONE_S, _SETTLED_S, _MEASURED_S = 6.0, 10.0, 20.0
_WANTED_SHARE = 0.95
_MS = 1e3
# How the lanes are: by themselves, or as many as that.
_STEERED, _ALL, _HALF = "steered", "all", "half"


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Let a neighbour come, and see what the lanes make of it."""
    for name in models.QUICK:
        reports: dict[str, list[Report]] = {_STEERED: [], _ALL: [], _HALF: []}
        for number in range(_ROUNDS):
            progress(f"what {name} can do, round {number + 1} of {_ROUNDS}")
            rate_rps = _capacity(name)
            for how, found in reports.items():
                progress(f"{name}, {how}, round {number + 1} of {_ROUNDS}")
                with _server(name, how) as server:
                    target = make_target("oip-grpc", server.address, name, models.requests(name))
                    found.append(_beside(target, rate_rps, seed=number))
        yield from _figures(name, reports)


def _server(name: str, how: str) -> Server:
    flags = ["--slo-ms", str(_SLO_S * _MS)]
    if how == _HALF:
        flags += ["--instances", str(max(usable_cores() // 2, 1))]
    return Server(
        models.folder(name),
        *flags,
        environment={"HEADRACE_DEFAULTS__CONTROL": str(how == _STEERED).lower()},
    )


def _capacity(name: str) -> float:
    """What all lanes answer without a neighbour, on a server of its own."""
    with _server(name, _ALL) as server:
        target = make_target("oip-grpc", server.address, name, models.requests(name))
        return make_report(run(ClosedLoop(_CALLERS, _CAPACITY_S), target), warm_s=_WARM_S).per_s


def _beside(target: Target, rate_rps: float, *, seed: int) -> Report:
    """Send all the time; the neighbour comes after a while."""
    arrivals = poisson(rate_rps, _ALONE_S + _SETTLED_S + _MEASURED_S, seed=seed)
    with Sending(OpenLoop(arrivals), target) as sending:
        sending.wait_started()
        sending.has_ended(_ALONE_S)
        with _neighbours(max(usable_cores() // 2, 1)):
            result = sending.result()
    return make_report(result, slo_s=_SLO_S, warm_s=_ALONE_S + _SETTLED_S)


@contextlib.contextmanager
def _neighbours(count: int) -> Iterator[None]:
    """So many programs that want a core each."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _figures(name: str, reports: dict[str, list[Report]]) -> Iterator[Figure]:
    good = {
        how: statistics.median(report.goodput_per_s or 0.0 for report in found)
        for how, found in reports.items()
    }
    best = max(good[_ALL], good[_HALF])
    told = ", ".join(f"{how} {rps:.0f}/s" for how, rps in good.items())
    yield Figure(
        f"{name} beside a neighbour: goodput, share of the best fixed number of lanes",
        good[_STEERED] / best if best else 0.0,
        "",
        _WANTED_SHARE,
        note=told,
    )
    p99_ms = [one.latency.p99_s * _MS for one in reports[_STEERED] if one.latency]
    yield Figure(
        f"{name} beside a neighbour: p99 of the answered",
        statistics.median(p99_ms or [0.0]),
        "ms",
        _SLO_S * _MS,
        at_most=True,
    )
