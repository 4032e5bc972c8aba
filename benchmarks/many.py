"""Two models on one machine: a light one at 60 % of what it could do alone, a heavy one at 200 %.

Together they want 2.6 times the machine. The light one should not notice, and the heavy one should
have what is left. ResNet-50, since its requests are few: what it costs to send and to refuse twice
what a fast model can do is a fifth of this machine. A run of it takes 75 ms on one core, which the
objectives leave room for. The same on a server whose models do not take turns (`server.share:
kernel`), in turns with the first.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import models
from benchmarks.figures import Figure
from headrace.load.arrivals import poisson
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop, OpenLoop, Target
from headrace.load.report import Report, make_report
from headrace.load.run import Sending, run
from headrace.testing import Server

_LIGHT, _HEAVY = models.LIGHT, "resnet50"
_LIGHT_LOAD, _HEAVY_LOAD = 0.6, 2.0
# More than the part of the machine it wants, so that turns are its by right.
_WEIGHTS = {_LIGHT: 4, _HEAVY: 1}
_SLO_S = {_LIGHT: 0.1, _HEAVY: 0.25}
_SHARES = ("fair", "kernel")
_ROUNDS = 3
_CALLERS = 8
_CAPACITY_S, _TOGETHER_S, _WARM_S = 6.0, 14.0, 2.0
_WANTED_LIGHT, _WANTED_REST = 0.95, 0.85
_MS = 1e3


@dataclass(frozen=True, slots=True)
class _Rates:
    """What each of them can do alone."""

    light_rps: float
    heavy_rps: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """What came of the rounds of one server."""

    light: list[Report] = field(default_factory=list)
    heavy: list[Report] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Measure both, with turns and without."""
    seen = {share: _Seen() for share in _SHARES}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        config = _config(Path(folder) / "headrace.yaml")
        servers = {
            share: stack.enter_context(
                Server("--config", config, environment={"HEADRACE_SERVER__SHARE": share})
            )
            for share in _SHARES
        }
        for number in range(_ROUNDS):
            for share in _SHARES if number % 2 == 0 else reversed(_SHARES):
                progress(f"{share}, round {number + 1} of {_ROUNDS}")
                rates = _Rates(*(_capacity(servers[share], name) for name in (_LIGHT, _HEAVY)))
                _round(servers[share], rates, seen[share], seed=number)
    for share in _SHARES:
        yield from _figures(share, seen[share])


def _config(path: Path) -> Path:
    entries = [
        {"path": str(models.folder(name)), "slo_ms": _SLO_S[name] * _MS, "weight": weight}
        for name, weight in _WEIGHTS.items()
    ]
    path.write_text(json.dumps({"models": entries}), encoding="utf-8")
    return path


def _capacity(server: Server, name: str) -> float:
    report = make_report(
        run(ClosedLoop(_CALLERS, _CAPACITY_S), _target(server, name)), warm_s=_WARM_S / 2
    )
    return report.per_s


def _round(server: Server, rates: _Rates, seen: _Seen, *, seed: int) -> None:
    """Load both at once."""
    light = poisson(_LIGHT_LOAD * rates.light_rps, _TOGETHER_S, seed=seed)
    heavy = poisson(_HEAVY_LOAD * rates.heavy_rps, _TOGETHER_S, seed=100 + seed)
    with (
        Sending(OpenLoop(heavy), _target(server, _HEAVY)) as heavily,
        Sending(OpenLoop(light), _target(server, _LIGHT)) as lightly,
    ):
        heavily.wait_started()
        lightly.wait_started()
        results = lightly.result(), heavily.result()
    reports = [
        make_report(result, slo_s=_SLO_S[name], warm_s=_WARM_S)
        for name, result in zip((_LIGHT, _HEAVY), results, strict=True)
    ]
    seen.light.append(reports[0])
    seen.heavy.append(reports[1])
    rest_rps = (1 - _LIGHT_LOAD) * rates.heavy_rps
    seen.rest.append((reports[1].goodput_per_s or 0.0) / rest_rps)


def _target(server: Server, name: str) -> Target:
    return make_target("oip-grpc", server.address, name, models.requests(name))


def _figures(share: str, seen: _Seen) -> Iterator[Figure]:
    wanted = share == "fair"
    good = [(one.goodput_per_s or 0.0) / one.offered_per_s for one in seen.light]
    light = seen.light[-1]
    yield Figure(
        f"{share}: {_LIGHT} at 60 %, answered within {_SLO_S[_LIGHT] * _MS:.0f} ms",
        statistics.median(good),
        "",
        _WANTED_LIGHT if wanted else None,
        note=f"of {light.offered_per_s:.0f} offered/s; rounds "
        f"{', '.join(f'{value:.3f}' for value in good)} {_spoiled(seen.light)}",
    )
    yield Figure(
        f"{share}: {_LIGHT}, p99 of the answered",
        _quantile_ms(seen.light, "p99_s"),
        "ms",
        _SLO_S[_LIGHT] * _MS if wanted else None,
        at_most=True,
        note=f"p50 {_quantile_ms(seen.light, 'p50_s'):.1f} ms; refused "
        f"{sum(r.refused for r in seen.light)}, late {sum(r.late for r in seen.light)} of "
        f"{sum(r.planned for r in seen.light)}",
    )
    heavy = seen.heavy[-1]
    yield Figure(
        f"{share}: {_HEAVY} at 200 %, goodput as a share of the rest of the machine",
        statistics.median(seen.rest),
        "",
        _WANTED_REST if wanted else None,
        note=f"{heavy.goodput_per_s or 0.0:.0f} of {heavy.offered_per_s:.0f} offered/s; p99 "
        f"{_quantile_ms(seen.heavy, 'p99_s'):.1f} ms {_spoiled(seen.heavy)}",
    )


def _quantile_ms(reports: list[Report], name: str) -> float:
    """Of the answered; the middle one of all rounds, 0 where none was."""
    found = [float(getattr(one.latency, name)) * _MS for one in reports if one.latency is not None]
    return statistics.median(found or [0.0])


def _spoiled(reports: list[Report]) -> str:
    return next((one.spoiled for one in reports if one.spoiled), "")
