"""Ten minutes at 80 % load: the memory of every process must stay what it was after the first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks import models
from benchmarks.figures import Figure
from headrace.load.arrivals import poisson
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop, OpenLoop
from headrace.load.report import make_report
from headrace.load.run import Sending, run
from headrace.proc import resident_bytes
from headrace.testing import Server

_SHARE = 0.8
_WARM_S, _DURATION_S, _EVERY_S = 60.0, 600.0, 10.0
_CAPACITY_S = 6.0
_CALLERS = 16
_GROWTH = 0.02
_PERCENT = 100.0


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Load a model, look at the memory of each process, compare the end with the first minute."""
    with Server(models.folder(models.LIGHT), "--slo-ms", "100") as server:
        requests = models.requests(models.LIGHT)
        target = make_target("oip-grpc", server.address, models.LIGHT, requests)
        rate_rps = _SHARE * make_report(run(ClosedLoop(_CALLERS, _CAPACITY_S), target)).per_s
        names = {server.process.pid: "supervisor"}
        names |= dict.fromkeys(server.receivers(), "receiver")
        names |= dict.fromkeys(server.engines(), "engine")
        samples: dict[int, list[int]] = {pid: [] for pid in names}
        plan = OpenLoop(poisson(rate_rps, _WARM_S + _DURATION_S, seed=1))
        with Sending(plan, target) as sending:
            started_s = sending.wait_started()
            while (passed_s := time.monotonic() - started_s) < plan.duration_s - _EVERY_S:
                time.sleep(_EVERY_S)
                if passed_s >= _WARM_S:
                    for pid, seen in samples.items():
                        seen.append(resident_bytes(pid))
                progress(f"{passed_s / 60:.1f} of {plan.duration_s / 60:.0f} minutes")
            report = make_report(sending.result(), slo_s=0.1)
    for pid, name in names.items():
        yield _growth(name, samples[pid])
    yield Figure(
        "answered",
        report.ok / report.sent * _PERCENT,
        "%",
        note=f"{report.ok} of {report.sent} at {rate_rps:.0f}/s; {dict(report.outcomes)}",
    )


def _growth(name: str, seen: list[int]) -> Figure:
    edge = max(len(seen) // 10, 1)
    first, last = (sum(part) / edge for part in (seen[:edge], seen[-edge:]))
    return Figure(
        f"{name}: growth of memory",
        (last / first - 1) * _PERCENT,
        "%",
        _GROWTH * _PERCENT,
        at_most=True,
        note=f"{first / 2**20:.1f} MiB to {last / 2**20:.1f} MiB",
    )
