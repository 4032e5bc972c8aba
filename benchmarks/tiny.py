"""What a request costs: a tiny model (784-128-10), so that nearly all of it is ours.

The load generator runs on the same cores. Wanted are the rates that a prototype without deadlines,
limits and errors promised on two faster cores; Triton's C++ front end with a Python backend reached
22,100, 18,900 and 2,200 over gRPC and 24,600 over REST there. Rates say as much about the machine
as about the server, so the same is asked, in turns, of an application written by hand.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks import bare, h2load, models
from benchmarks.figures import Figure
from benchmarks.handwritten import handwritten
from headrace.load.payload import make_target
from headrace.load.plan import Target
from headrace.testing import Server

_ROUNDS = 5
_BARE_S = 1.0
_ADDED_MS = 0.5


class Case(NamedTuple):
    """One way to ask, how many at once, and the rate wanted."""

    name: str
    api: str
    connections: int
    streams: int
    requests: int
    wanted_rps: float | None


CASES = (
    Case("gRPC, 1 at a time", "oip-grpc", 1, 1, 8_000, 2_300),
    Case("gRPC, 64 at once", "oip-grpc", 8, 8, 60_000, 20_000),
    Case("gRPC, 256 at once", "oip-grpc", 16, 16, 80_000, 25_000),
    Case("REST binary, 256 connections", "oip-rest", 256, 1, 60_000, 20_000),
)


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Run every case in turn, several times over; medians."""
    found: dict[Case, list[h2load.Measured]] = {case: [] for case in CASES}
    by_hand: dict[Case, list[h2load.Measured]] = {case: [] for case in CASES}
    model = models.file(models.TINY)
    with Server(models.folder(models.TINY)) as server, handwritten(model) as by_hand_at:
        backend = _backend(server)
        for case in CASES:
            for address in (server.address, by_hand_at):
                _run(case, address, case.requests // 4)
        for number in range(_ROUNDS):
            for case in CASES:
                progress(f"round {number + 1} of {_ROUNDS}: {case.name}")
                found[case].append(_run(case, server.address, case.requests))
                by_hand[case].append(_run(case, by_hand_at, case.requests))
    for case, rounds in found.items():
        rates = [one.rate_rps for one in rounds]
        yield Figure(
            case.name,
            statistics.median(rates),
            "requests/s",
            case.wanted_rps,
            note=f"best {max(rates):,.0f}; p50 {_median_p50(rounds):.2f} ms, "
            f"p99 {statistics.median(one.p99_ms for one in rounds):.2f} ms",
        )
        other_rps = statistics.median(one.rate_rps for one in by_hand[case])
        yield Figure(
            f"{case.name}: ratio to one written by hand",
            statistics.median(rates) / other_rps,
            "",
            note=f"which does {other_rps:,.0f} requests/s",
        )
    bare_ms = 1e3 / bare.measure(model, backend, 1, _BARE_S, [1])[1]
    added_ms = _median_p50(found[CASES[0]]) - bare_ms
    yield Figure(
        "added to the bare call at p50, 1 at a time over gRPC",
        added_ms,
        "ms",
        _ADDED_MS,
        at_most=True,
        note=f"the bare call takes {bare_ms:.3f} ms with {backend}",
    )


def _median_p50(rounds: list[h2load.Measured]) -> float:
    return statistics.median(one.p50_ms for one in rounds)


def _backend(server: Server) -> str:
    return "openvino" if ": openvino" in server.output else "onnxruntime"


def _run(case: Case, address: str, requests: int) -> h2load.Measured:
    target = make_target(case.api, address, models.TINY, models.requests(models.TINY)[:1])
    load = to_h2load(target, http1=case.api != "oip-grpc")
    return h2load.run(load, requests, case.connections, case.streams)


def to_h2load(target: Target, *, http1: bool) -> h2load.Load:
    """Make h2load's input of a target: its first message."""
    message = target.messages[0]
    body, headers = message.body, (*target.headers, *message.headers)
    if not http1:
        body = b"\0" + len(body).to_bytes(4, "big") + body
        headers = (*headers, *h2load.GRPC_HEADERS)
    return h2load.Load(f"http://{target.address}{target.path}", body, headers, http1=http1)
