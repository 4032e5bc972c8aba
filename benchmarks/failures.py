"""kill -9 of an engine, and SIGTERM, both under load: what the clients see."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import models
from benchmarks.figures import Figure
from headrace.load.arrivals import constant
from headrace.load.payload import make_target
from headrace.load.plan import OpenLoop, Target
from headrace.load.result import CONNECTION_LOST, CONNECTION_REFUSED, Result
from headrace.load.run import Sending
from headrace.testing import Server

_MODEL = "efficientnet-lite0"
_RATE_RPS, _DURATION_S = 100.0, 14.0
# More than the machine can do: hundreds are in flight when the server is told to stop.
_DRAIN_RPS = 300.0
_KILL_AFTER_S = 4.0
_GRACE_S = 1.0
_LOAD_TIME = re.compile(r"loaded in ([\d.]+) s, (?:from the cache, )?warm in ([\d.]+) s")


def measure(progress: Callable[[str], None]) -> Iterator[Figure]:
    """Kill an engine under load, then drain a server under load."""
    progress("kill -9 of the engine under load")
    yield from _kill()
    progress("SIGTERM under load")
    yield from _terminate()


def _kill() -> Iterator[Figure]:
    with Server(models.folder(_MODEL)) as server:
        load_s = sum(map(float, _LOAD_TIME.findall(server.output)[0]))
        plan = OpenLoop(constant(_RATE_RPS, _DURATION_S))
        with Sending(plan, _target(server)) as sending:
            started_s = sending.wait_started()
            time.sleep(_KILL_AFTER_S)
            killed_s = time.monotonic() - started_s
            os.kill(server.engines()[0], signal.SIGKILL)
            result = sending.result()
    answered = np.count_nonzero(~np.isnan(result.done_s)) - _count(result, CONNECTION_LOST)
    yield Figure(
        "kill -9 of the engine: requests without an answer",
        float(len(result) - answered),
        "",
        0,
        at_most=True,
        note=f"of {len(result)} at {_RATE_RPS:g}/s; {_not_ok(result)} of them with an error",
    )
    yield Figure(
        "kill -9 of the engine: until a new request is answered",
        _back_s(result, killed_s) - killed_s,
        "s",
        load_s + _GRACE_S,
        at_most=True,
        note=f"the model loads and warms up in {load_s:.2f} s",
    )


def _terminate() -> Iterator[Figure]:
    with Server(models.folder(_MODEL)) as server:
        plan = OpenLoop(constant(_DRAIN_RPS, _DURATION_S))
        with Sending(plan, _target(server)) as sending:
            started_s = sending.wait_started()
            time.sleep(_KILL_AFTER_S)
            told_s = time.monotonic() - started_s
            status = server.stop()
            ended_s = time.monotonic() - started_s
            result = sending.result()
    # Sent before the server was told: those were in flight, and must be answered.
    in_flight = (result.sent_s < told_s) & ~(result.done_s < told_s)
    failed = in_flight & (result.outcome != 0)
    cut = _count(result, CONNECTION_LOST)
    yield Figure(
        "SIGTERM: requests in flight that failed",
        int(np.count_nonzero(failed)),
        "",
        0,
        at_most=True,
        note=f"{np.count_nonzero(in_flight)} were in flight; cut later {cut}, turned away by a "
        f"closed port {_count(result, CONNECTION_REFUSED)}",
    )
    yield Figure(
        "SIGTERM: until the process ended",
        ended_s - told_s,
        "s",
        note=f"exit status {status}",
    )


def _target(server: Server) -> Target:
    requests = models.requests(_MODEL)
    return make_target("oip-grpc", server.address, _MODEL, requests, timeout_s=30.0)


def _count(result: Result, outcome: object) -> int:
    numbers = [number for number, one in enumerate(result.outcomes) if one == outcome]
    return int(np.isin(result.outcome, numbers).sum())


def _not_ok(result: Result) -> int:
    return int(np.count_nonzero(result.outcome))


def _back_s(result: Result, killed_s: float) -> float:
    """When a request sent after the death was answered."""
    after = (result.sent_s > killed_s) & (result.outcome == 0)
    return float(result.done_s[after].min(initial=np.inf))
