"""A model on a GPU against the bare CUDA-graph loop: rows/s with the p99 below a bar.

ResNet-50 and BERT-base at 128 words, in 16 bits, by the PyTorch backend. The loop runs in turns
with the server, at the size that does most among those whose batches are as fast as the bar. The
server has the bar as its objective, and is asked by ever more callers; what counts is its best.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.figures import Figure, Skipped
from headrace.load.apis.contract import Inputs
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop, Target
from headrace.load.report import Report, make_report
from headrace.load.run import run
from headrace.testing import Server
from zoo.download import home

_WANTED = 0.9
# One connection carries what a client has to ask: eight images or sentences a request.
_ROWS = 8
_DIFFERENT = 16
_MOST_REFUSED = 0.01
_MS = 1e3
# Capturing a graph of each size, on each lane, with the weights of BERT to read before.
_START_S = 300.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, what its rows are, and within which time 99 of 100 answers must come."""

    name: str
    rows: str
    bar_s: float
    callers: tuple[int, ...] = (4, 8, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True, slots=True)
class How:
    """Where it is measured and how thoroughly; a try of this script needs neither GPU nor time."""

    device: str = "cuda"
    precision: str = "f16"
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
    rounds: int = 3
    bare_s: float = 3.0
    served_s: float = 8.0
    warm_s: float = 2.0


MODELS = (Asked("resnet50", "img/s", 0.015), Asked("bert-base", "sequences/s", 0.130))


def missing() -> str | None:
    """Why nothing can be measured here; None: there is all it takes."""
    if find_spec("torch") is None:
        return "PyTorch is not installed: pip install 'headrace[torch]'"
    from headrace.engine.backends.torch_cuda import check_there  # noqa: PLC0415 - wants PyTorch
    from headrace.errors import DeviceMissing  # noqa: PLC0415 - the same

    try:
        check_there(0)
    except DeviceMissing as error:
        return error.message
    return None


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Measure both.

    Raises:
        Skipped: there is no GPU here, or nothing to use it with.
    """
    why = missing()
    if why is not None:
        raise Skipped(why)
    return _measured(progress)


def _measured(progress: Callable[[str], None]) -> Iterator[Figure]:
    from benchmarks import gpu_models  # noqa: PLC0415 - wants PyTorch

    for asked in MODELS:
        progress(f"{asked.name}: writing it")
        folder = gpu_models.write(asked.name, home(os.environ) / "gpu")
        bodies = gpu_models.requests(asked.name, _ROWS, _DIFFERENT)
        yield from compare(asked, folder, bodies, progress, How())


def compare(
    asked: Asked,
    folder: Path,
    bodies: Sequence[Inputs],
    progress: Callable[[str], None],
    how: How,
) -> Iterator[Figure]:
    """Measure one model, in turns with the loop."""
    from benchmarks import gpu_bare  # noqa: PLC0415 - wants PyTorch

    flags = ["--device", how.device, "--precision", how.precision]
    flags += ["--max-batch", str(max(how.sizes)), "--slo-ms", f"{asked.bar_s * _MS:g}"]
    with Server(folder, *flags, timeout_s=_START_S) as server:
        target = make_target("oip-grpc", server.address, asked.name, bodies, timeout_s=60.0)
        progress(f"{asked.name}: the best batch size of the bare loop")
        sweep = gpu_bare.measure(folder, how.precision, how.bare_s, how.sizes, how.device)
        fast = {size: one for size, one in sweep.items() if one.p99_s <= asked.bar_s}
        best = max(fast or sweep, key=lambda size: sweep[size].rows_per_s)
        bare_rates: list[float] = []
        served: list[Served] = []
        for number in range(how.rounds):
            progress(f"{asked.name}: round {number + 1} of {how.rounds}")
            loop = gpu_bare.measure(folder, how.precision, how.bare_s, [best], how.device)[best]
            bare_rates.append(loop.rows_per_s)
            served.append(_best(asked, target, how))
    yield from _figures(asked, best, bare_rates, served, f"{how.precision}, {_gpu()}")


@dataclass(frozen=True, slots=True)
class Served:
    """The most that was answered in time, and how."""

    rows_per_s: float
    p99_s: float
    callers: int


def _best(asked: Asked, target: Target, how: How) -> Served:
    """Ask by ever more callers until that is too many."""
    best = Served(0.0, 0.0, 0)
    for callers in asked.callers:
        report = make_report(
            run(ClosedLoop(callers, how.served_s), target), slo_s=asked.bar_s, warm_s=how.warm_s
        )
        found = served(report, callers, asked.bar_s)
        if found is None:
            break
        best = max(best, found, key=lambda one: one.rows_per_s)
    return best


def served(report: Report, callers: int, bar_s: float) -> Served | None:
    """What a run is worth; None: its p99 is above the bar, or too many were turned away."""
    if report.latency is None or report.latency.p99_s > bar_s:
        return None
    if report.refused + report.late + report.failed > _MOST_REFUSED * report.planned:
        return None
    return Served(report.per_s * _ROWS, report.latency.p99_s, callers)


def _figures(
    asked: Asked, best: int, bare_rates: list[float], runs: list[Served], where: str
) -> Iterator[Figure]:
    shares = [one.rows_per_s / rate for one, rate in zip(runs, bare_rates, strict=True)]
    rate = statistics.median(one.rows_per_s for one in runs)
    bar = f"p99 at most {asked.bar_s * _MS:.0f} ms"
    yield Figure(f"{asked.name}: {asked.rows} with {bar}", rate, asked.rows)
    yield Figure(
        f"{asked.name}: share of the bare CUDA-graph loop, {bar}",
        statistics.median(shares),
        "",
        _WANTED,
        note=f"the loop: {statistics.median(bare_rates):,.0f} {asked.rows}, batches of {best}; "
        f"served: p99 {max(one.p99_s for one in runs) * _MS:.1f} ms, "
        f"{runs[-1].callers} callers of {_ROWS} rows over gRPC; rounds "
        f"{', '.join(f'{share:.3f}' for share in shares)}; {where}",
    )


def _gpu() -> str:
    import torch  # noqa: PLC0415 - takes seconds

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "no GPU"
