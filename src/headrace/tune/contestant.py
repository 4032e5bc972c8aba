"""A candidate in the race: a server of its own, as ``headrace serve`` starts it, and its slices."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.errors import StartError
from headrace.load.arrivals import poisson
from headrace.load.objective import Objective as Kept
from headrace.load.plan import OpenLoop, Target
from headrace.load.report import make_report
from headrace.load.run import run
from headrace.plan.target import Requests, make_sent
from headrace.proc import resident_bytes
from headrace.testing import Server, ServerEnded
from headrace.tune.halving import WARM_SHARE, stretched_s
from headrace.tune.journal import Journal
from headrace.tune.space import Candidate
from headrace.tune.wanted import Objective

# So much more than is hoped for: who holds less is told by what it holds of it.
OVER = 1.25
# Who held all of a rate is given so much more.
_FASTER = 1.5
# Who held little of it is given so much less at most: it may have been a moment of noise.
_SLOWER = 3.0
# A sender later than this part of the objective has measured itself.
_LATE_SHARE = 0.2
# What one sender can do in time (benchmarks/generator.py), and can do whatever else goes on. Where
# it was late it is given so much of that rate.
_SENDER_RPS, _SENDABLE_RPS, _BELOW = 5000.0, 1000.0, 0.8
_LEAST_RPS = 0.5
# An answer is waited for so many times the objective at least: what is late was not lost.
_PATIENCE = 2
# What the shell says of these is of the operator's own server: its files, its ports, its other
# models, its tuned cards, and how it loads and steers. These serve one model, as they are told.
_ENVIRONMENT = {
    "HEADRACE_SERVER__LISTEN": "",
    "HEADRACE_SERVER__TUNED": "false",
    "HEADRACE_SERVER__ACCESS_LOG": "",
    "HEADRACE_SERVER__OTLP_ENDPOINT": "",
    "HEADRACE_SERVER__DEFAULT_MODEL": "",
    "HEADRACE_DEFAULTS__CONTROL": "false",
    "HEADRACE_DEFAULTS__PRELOAD": "",
    "HEADRACE_DEFAULTS__VERSION_LABELS": "",
}
_PROTOCOL = "oip-grpc"
_START_S, _END_S = 300.0, 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What all contestants share: the model as it was named, its name, and what is sent.

    ``shapes`` are as ``headrace load --shape`` takes them; with ``data`` real rows are sent.
    ``wanted_rps`` is the rate that was asked for, past which nobody is driven; None: none was.
    ``version`` is the one that is tuned; None: all there are.
    """

    path: str
    name: str
    objective: Objective
    shapes: tuple[str, ...]
    data: Path | None = None
    senders: int = 1
    wanted_rps: float | None = None
    version: int | None = None

    @property
    def most_rps(self) -> float:
        """What its senders can send in time."""
        return self.senders * _SENDER_RPS


@dataclass(frozen=True, slots=True)
class Slice:
    """What came of one: ``goodput_rps`` was answered in time; ``late``: the sender could not."""

    rate_rps: float
    goodput_rps: float
    share: float
    p99_s: float | None
    late: bool


def given_rps(hoped_rps: float) -> float:
    """What somebody is driven at first, of whom so much is hoped."""
    return max(OVER * hoped_rps, _LEAST_RPS)


class Ceiling:
    """The highest rate that anybody is driven at: past it the senders are what is measured."""

    def __init__(self, rate_rps: float) -> None:
        self.rate_rps = rate_rps

    def lower(self, rate_rps: float) -> None:
        """The senders were late at a rate; at one that they can do it was a moment of noise."""
        self.rate_rps = min(self.rate_rps, max(_BELOW * rate_rps, _SENDABLE_RPS))


class Contestant:
    """One candidate; its server is started when it is driven first, and ends with ``close``."""

    def __init__(
        self,
        candidate: Candidate,
        entry: Entry,
        journal: Journal,
        hoped_rps: float,
        ceiling: Ceiling,
        receivers: int = 1,
    ) -> None:
        self.candidate = candidate
        self.receivers = receivers
        self.rate_rps = given_rps(hoped_rps)
        self.capped = False
        self._best_rps = 0.0
        self._ceiling = ceiling
        self._entry = entry
        self._journal = journal
        self._server: Server | None = None
        self._target: Target | None = None

    def slice(self, length_s: float, *number: object) -> float:
        """Drive it for a while at a rate that it should not hold; return its answers in time.

        Raises:
            StartError: its server does not come up, or went away.
        """
        rate_rps = min(self.rate_rps, self._ceiling.rate_rps)
        length_s = stretched_s(length_s, rate_rps)
        seen = self.drive(rate_rps, length_s, "slice", *number)
        held = seen.share >= self._entry.objective.quantile
        # By the best that was seen: a moment of noise must not lower what it is given from then on.
        self._best_rps = max(self._best_rps, seen.goodput_rps)
        good = max(self._best_rps, seen.rate_rps / _SLOWER / OVER, _LEAST_RPS)
        self.rate_rps = _FASTER * seen.rate_rps if held else OVER * good
        self.capped = self.rate_rps > self._ceiling.rate_rps
        return seen.goodput_rps

    def drive(self, rate_rps: float, length_s: float, *number: object) -> Slice:
        """Drive it at a rate, unless the journal knows what came of it.

        Raises:
            StartError: its server does not come up, or went away.
        """
        # A slice for a rate says nothing of what there would be without one.
        key = ("drive", self._entry.wanted_rps, self.candidate, *number)
        known = self._journal.get(*key)
        seen = Slice(**known) if known is not None else self._drive(rate_rps, length_s, number)
        if known is None:
            values = (seen.rate_rps, seen.goodput_rps, seen.share, seen.p99_s, seen.late)
            names = ("rate_rps", "goodput_rps", "share", "p99_s", "late")
            self._journal.put(dict(zip(names, values, strict=True)), *key)
        if seen.late:
            self._ceiling.lower(seen.rate_rps)
        return seen

    def memory_bytes(self) -> int | None:
        """What its engine has in memory; None where that is not known."""
        if self._server is None:
            found = self._journal.get("memory", self.candidate)
            return None if found is None else int(found)
        found = sum(map(resident_bytes, self._server.engines()))
        self._journal.put(found, "memory", self.candidate)
        return found

    def close(self) -> None:
        """End its server at once: nobody waits for an answer."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()

    def _drive(self, rate_rps: float, length_s: float, number: Sequence[object]) -> Slice:
        target = self._ready()
        warm_s = WARM_SHARE * length_s
        seed = sum(map(ord, "".join(map(str, number))))  # another one each time, of all the same
        arrivals = poisson(rate_rps, length_s + warm_s, seed)
        result = run(OpenLoop(arrivals), target, self._entry.senders)
        objective = self._entry.objective
        slo_s = objective.slo_s
        report = make_report(result, slo_s=slo_s, warm_s=warm_s, lag_limit_s=_LATE_SHARE * slo_s)
        missed = Kept(slo_s, 1 - objective.quantile).share_missed(result, warm_s)
        latency = report.latency
        return Slice(
            rate_rps,
            report.goodput_per_s or 0.0,
            1 - missed,
            None if latency is None else latency.p99_s,
            late=report.spoiled is not None,
        )

    def start(self) -> None:
        """Start its server, if it is not there.

        Raises:
            StartError: it does not come up.
        """
        self._ready()

    def _ready(self) -> Target:
        if self._server is None or self._target is None:
            entry = self._entry
            server = self._server = self._made()
            try:
                server.start()
                server.wait_until_ready()
                requests = Requests(_PROTOCOL, 1, entry.data, entry.shapes)
                target = make_sent(server.url, entry.name, requests).target
                timeout_s = max(target.timeout_s, _PATIENCE * entry.objective.slo_s)
                self._target = replace(target, timeout_s=timeout_s)
            except ServerEnded as error:
                why = _why(server, str(error))
                self.close()
                raise StartError(why) from error
            except BaseException:
                self.close()  # or it would run on beside the next one
                raise
        return self._target

    def _made(self) -> Server:
        entry = self._entry
        version = () if entry.version is None else ("--versions", f"specific:{entry.version}")
        # No flag: a card that says something of it wins, here as when it is served.
        linger = {"HEADRACE_DEFAULTS__LINGER_MS": f"{self.candidate.linger_ms:g}"}
        return Server(
            *(entry.path, "--name", entry.name, *version, "--host", "127.0.0.1"),
            *("--slo-ms", f"{1e3 * entry.objective.slo_s:g}", "--log-level", "error"),
            *("--receivers", str(self.receivers)),
            *self.candidate.flags(),
            environment={**_ENVIRONMENT, **linger},
            timeout_s=_START_S,
        )


def _why(server: Server, text: str) -> str:
    """Why a server is not there: its last words, unless it only takes too long."""
    try:  # one that has closed its output is about to end
        server.process.wait(_END_S)
    except subprocess.TimeoutExpired:
        return f"it was not ready in {_START_S:.0f} s"
    lines = text.strip().splitlines()
    return lines[-1] if lines else "its server ended"
