"""Instances on cores of their own against instances that run anywhere, in turns.

Alone, and beside a second model that is as busy and placed likewise. What each answers at once and
the p99 of its answers, each as a ratio to the same without a placement in the same round, and the
median of these. Nothing is wanted of them: they say where to use `placement`, and where not.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator

from benchmarks import models
from benchmarks.figures import Figure
from headrace.load.payload import make_target
from headrace.load.plan import ClosedLoop
from headrace.load.report import Report, make_report
from headrace.load.run import Sending, run
from headrace.testing import Server

_ROUNDS = 5
_CALLERS, _LASTS_S, _WARM_S = 8, 8.0, 1.0
_WAYS = ("none", "cores")


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Have each model answer what it can, with a placement and without."""
    first, second = models.QUICK
    ratios: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(_ROUNDS):
        turns = _WAYS if number % 2 == 0 else _WAYS[::-1]
        for served, case in (((first,), "alone"), ((first, second), f"beside {second}")):
            found = {}
            for how in turns:
                progress(f"{first} {case}, placement {how}, round {number + 1} of {_ROUNDS}")
                found[how] = _asked(served, how)
            ratios[case].append(_ratio(found["cores"], found["none"]))
    for case, pairs in ratios.items():
        yield from _figures(f"{first} {case}", pairs)


def _asked(served: tuple[str, ...], how: str) -> Report:
    """What the first of these answers while all are asked."""
    folders = [models.folder(name) for name in served]
    with Server(*folders, "--placement", how) as server:
        targets = [
            make_target("oip-grpc", server.address, name, models.requests(name)) for name in served
        ]
        if len(targets) == 1:
            return make_report(run(ClosedLoop(_CALLERS, _LASTS_S), targets[0]), warm_s=_WARM_S)
        # The neighbour begins before and ends after.
        with Sending(ClosedLoop(_CALLERS, _LASTS_S + 2 * _WARM_S), targets[1]) as neighbour:
            neighbour.wait_started()
            result = run(ClosedLoop(_CALLERS, _LASTS_S), targets[0])
            neighbour.result()
        return make_report(result, warm_s=_WARM_S)


def _ratio(placed: Report, free: Report) -> tuple[float, float]:
    if placed.latency is None or free.latency is None:
        raise RuntimeError("nothing was answered")
    return placed.per_s / free.per_s, placed.latency.p99_s / free.latency.p99_s


def _figures(name: str, pairs: list[tuple[float, float]]) -> Iterator[Figure]:
    for what, values in zip(("answers", "p99"), zip(*pairs, strict=True), strict=True):
        yield Figure(
            f"{name}: {what} with instances on cores of their own, to that without",
            statistics.median(values),
            "",
            note=f"{min(values):.2f} to {max(values):.2f}",
        )
