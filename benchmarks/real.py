"""Real models against the bare backend loop with the same backend, precision and threads.

The loop's best batch size is looked for once. Then both run in turn, several times over; the load
generator's share of the cores is the server's loss.
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

_ROUNDS = 7
_SWEEP_S = 3.0  # a batch size
_BARE_S = 6.0
_SERVED_S, _WARM_S = 10.0, 2.0
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
        progress(f"{model.name}, the best batch size of the bare loop")
        file = models.file(model.name)
        sweep = bare.measure(file, backend, int(instances), _SWEEP_S)
        best = max(sweep, key=lambda size: sweep[size])
        shares: list[float] = []
        served_rates: list[float] = []
        bare_rates: list[float] = []
        for number in range(_ROUNDS):
            progress(f"{model.name}, round {number + 1} of {_ROUNDS}")
            bare_rates += bare.measure(file, backend, int(instances), _BARE_S, [best]).values()
            served_rates.append(_served(target, model.callers).per_s)
            shares.append(served_rates[-1] / bare_rates[-1])
    return Figure(
        f"{model.name}, share of the bare loop",
        statistics.median(shares),
        "",
        model.wanted_share,
        note=f"{statistics.median(served_rates):.1f} of {statistics.median(bare_rates):.1f} rows/s;"
        f" {backend} {precision}, {instances} threads, {model.callers} callers over gRPC; "
        f"the loop runs batches of {best}",
    )


def _served(target: Target, callers: int) -> Report:
    report = make_report(run(ClosedLoop(callers, _SERVED_S), target), warm_s=_WARM_S)
    if report.failed or report.refused or report.late:
        raise RuntimeError(f"not every request was answered well: {report.outcomes}")
    return report
