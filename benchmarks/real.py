"""Real models against the bare backend loop with the same backend, precision and threads.

Both in turn, several times over; the load generator's share of the cores is the server's loss.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator

from benchmarks import bare, models
from benchmarks.figures import Figure
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop, Target
from headrace.load.report import Report, make_report
from headrace.load.run import run
from headrace.testing import Server

_ROUNDS = 3
_BARE_S = 3.0  # a batch size
_SERVED_S, _WARM_S = 14.0, 2.0
_LOADED = re.compile(r": (openvino|onnxruntime) (\w+).*?, (\d+) instance")


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Measure each model's share of its bare loop; medians of the rounds' ratios."""
    for model in models.REAL:
        yield _measure(model, progress)


def _measure(model: models.Measured, progress: Callable[[str], None]) -> Figure:
    with Server(models.folder(model.name)) as server:
        loaded = _LOADED.search(server.output)
        if loaded is None:
            raise RuntimeError(f"the server does not say what it loaded:\n{server.output}")
        backend, precision, instances = loaded.groups()
        target = make_target(
            "oip-grpc", server.address, model.name, models.requests(model.name), timeout_s=60.0
        )
        shares, served_rates, bare_rates = [], [], []
        for number in range(_ROUNDS):
            progress(f"{model.name}, round {number + 1} of {_ROUNDS}")
            rates = bare.measure(models.file(model.name), backend, int(instances), _BARE_S)
            report = _served(target, model.callers)
            bare_rates.append(max(rates.values()))
            served_rates.append(report.per_s)
            shares.append(report.per_s / bare_rates[-1])
    return Figure(
        f"{model.name}, share of the bare loop",
        statistics.median(shares),
        "",
        model.wanted_share,
        note=f"{statistics.median(served_rates):.1f} of {statistics.median(bare_rates):.1f} rows/s;"
        f" {backend} {precision}, {instances} threads, {model.callers} callers over gRPC",
    )


def _served(target: Target, callers: int) -> Report:
    report = make_report(run(ClosedLoop(callers, _SERVED_S), target), warm_s=_WARM_S)
    if report.failed or report.refused or report.late:
        raise RuntimeError(f"not every request was answered well: {report.outcomes}")
    return report
