"""The tiny model behind one receiver and behind two, in turns: what a second receiver is worth.

The load comes from h2load, a process of its own on the same cores, over so many connections that
the kernel spreads them. Over the rates goes the universal scalability law. Two points give its
contention and nothing else, with no bounds; where there are fewer cores than receivers, load
generator and engine want, that contention is the cores' and not the server's, and says nothing of
a larger machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from benchmarks import h2load, models
from benchmarks.figures import Figure
from benchmarks.tiny import CASES, to_h2load
from headrace.cores import usable_cores
from headrace.load.payload import make_target
from headrace.plan.scaling import fit
from headrace.testing import Server

_ROUNDS = 5
_RECEIVERS = (1, 2)
_MANY = next(case for case in CASES if case.connections == 256)
_ONE = next(case for case in CASES if case.connections * case.streams == 1)


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Ask both servers in turn, several times over; medians."""
    rates: dict[int, list[h2load.Measured]] = {count: [] for count in _RECEIVERS}
    alone: dict[int, list[h2load.Measured]] = {count: [] for count in _RECEIVERS}
    for number in range(_ROUNDS):
        for count in _RECEIVERS:
            progress(f"round {number + 1} of {_ROUNDS}: {count} receivers")
            with Server(models.folder(models.TINY), "--receivers", str(count)) as server:
                for case, found in ((_ONE, alone), (_MANY, rates)):
                    target = make_target(
                        case.api, server.address, models.TINY, models.requests(models.TINY)[:1]
                    )
                    load = to_h2load(target, http1=case.api != "oip-grpc")
                    h2load.run(load, case.requests // 4, case.connections, case.streams)
                    found[count].append(
                        h2load.run(load, case.requests, case.connections, case.streams)
                    )
    yield from _figures(rates, alone)


def _figures(
    rates: dict[int, list[h2load.Measured]], alone: dict[int, list[h2load.Measured]]
) -> Iterator[Figure]:
    points = []
    for count, rounds in rates.items():
        rate_rps = statistics.median(one.rate_rps for one in rounds)
        points.append((count, rate_rps))
        yield Figure(
            f"{_receivers(count)}: {_MANY.name}",
            rate_rps,
            "requests/s",
            note=f"best {max(one.rate_rps for one in rounds):,.0f}; "
            f"p99 {statistics.median(one.p99_ms for one in rounds):.2f} ms",
        )
        yield Figure(
            f"{_receivers(count)}: p50, {_ONE.name.partition(', ')[2]}",
            statistics.median(one.p50_ms for one in alone[count]),
            "ms",
        )
    scaling = fit(points)
    contention = scaling.contention.value
    yield Figure(
        "contention by the universal scalability law",
        contention,
        "",
        note=f"of two points, so without bounds or coherency; {usable_cores()} cores for load "
        "generator, receivers and engine",
    )
    if not contention:
        return
    yield Figure(
        "the most that any number of receivers would do, by that",
        scaling.one_rps.value / contention,
        "requests/s",
        note="X(1) / s; on a machine with cores to spare it must be measured anew",
    )


def _receivers(count: int) -> str:
    return "1 receiver" if count == 1 else f"{count} receivers"
