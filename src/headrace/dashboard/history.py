"""What was seen of one server in the last minutes: pure, time is an argument.

A server that does not answer leaves a gap; what its counters rose by meanwhile is not known, and is
put into no step.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headrace.dashboard.scrape import Key, Process, ProcessUse, Snapshot
from headrace.dashboard.window import Step, between, increase, join

KEPT_S = 300.0
"""How far back charts reach."""

RECENT_S = 10.0
"""What numbers are of: shorter is noise, longer is late."""

BIN_S = 5.0
"""How much time a point of a chart is of: less is noise, and more points are nothing to look at."""

# Looks are a second apart or more; so many are the bound whatever a caller does.
_MOST_MOMENTS = 600
_QUEUE = "queue_length"


class Look(NamedTuple):
    """What a server said at a time: its counters, and ``GET /models``."""

    at_s: float
    snapshot: Snapshot
    models: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Moment:
    """What came since the look before; idle versions are left out. ``steps`` is None of a gap."""

    at_s: float
    seconds: float
    steps: Mapping[Key, Step] | None
    gauges: Mapping[Key, Mapping[str, float]]
    refused: Mapping[str, float] = field(default_factory=dict)
    cpu_s: Mapping[Process, float] = field(default_factory=dict)


class Taken(NamedTuple):
    """What a process takes: cores, in the last seconds, and memory."""

    process: Process
    cores: float
    memory_bytes: float


class Bin(NamedTuple):
    """Some seconds of a version: None where they are not known. ``queued`` wait on average."""

    at_s: float
    step: Step | None
    queued: float | None


class History:
    """One server, as far as it was seen."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._moments: deque[Moment] = deque(maxlen=_MOST_MOMENTS)
        self._last: Look | None = None
        self._answers = False
        self._cores: dict[tuple[str, str], float] | None = None
        self.problem = "not asked yet"
        self.since_s: float | None = None

    @property
    def up(self) -> bool:
        """Whether it answered when it was last asked; ``problem`` says what was wrong."""
        return self._answers

    @property
    def models(self) -> Sequence[Mapping[str, Any]]:
        """Every version that it spoke of when it last answered."""
        return () if self._last is None else self._last.models

    @property
    def moments(self) -> Sequence[Moment]:
        """The last minutes, oldest first."""
        return self._moments

    def saw(self, look: Look) -> None:
        """Take what it said."""
        before = self._last if self._answers else None
        self._turn(answers=True, problem="", at_s=look.at_s)
        gauges = {key: one.gauges for key, one in look.snapshot.versions.items()}
        if before is None or look.at_s <= before.at_s:
            self._add(Moment(look.at_s, 0.0, None, gauges))
        else:
            seconds = look.at_s - before.at_s
            refused = increase(before.snapshot.refused, look.snapshot.refused)
            steps = _steps(before.snapshot, look.snapshot, seconds)
            self._add(Moment(look.at_s, seconds, steps, gauges, refused, _cpu_s(before, look)))
        self._last = look
        self._cores = None

    def missed(self, problem: str, at_s: float) -> None:
        """It did not answer, or with something else."""
        self._turn(answers=False, problem=problem, at_s=at_s)
        self._add(Moment(at_s, 0.0, None, {}))
        self._cores = None

    def recent(self, key: Key, last_s: float = RECENT_S) -> Step | None:
        """What came of a version in the last seconds; None where that is not known."""
        known = self._known(last_s)
        if not self._answers or not known:
            return None
        return join(steps.get(key, Step(moment.seconds)) for moment, steps in known)

    def bins(self, key: Key, width_s: float = BIN_S) -> list[Bin]:
        """What came of a version in the last minutes, oldest first, a few seconds together."""
        found: dict[int, list[Moment]] = {}
        for moment in self._moments:
            found.setdefault(int(moment.at_s // width_s), []).append(moment)
        return [_bin(moments, key) for moments in found.values()]

    def refused_rps(self, last_s: float = RECENT_S) -> float:
        """Requests a second that reached no model, in the last seconds."""
        known = [moment for moment, _ in self._known(last_s)]
        seconds = sum(moment.seconds for moment in known)
        refused = sum(sum(moment.refused.values()) for moment in known)
        return refused / seconds if seconds > 0 else 0.0

    def taken(self, last_s: float = RECENT_S) -> list[Taken]:
        """What each process of it takes; none while that is not known."""
        known = [moment for moment, _ in self._known(last_s)]
        seconds = sum(moment.seconds for moment in known)
        if self._last is None or not self._answers or not seconds:
            return []
        return [
            Taken(
                process,
                sum(moment.cpu_s.get(process, 0.0) for moment in known) / seconds,
                use.memory_bytes,
            )
            for process, use in sorted(self._last.snapshot.processes.items())
        ]

    def cores(self, key: Key) -> float | None:
        """What the engines of a version take; None while that is not known."""
        if self._cores is None:  # many versions are asked for after each look
            self._cores = {}
            for process, cores, _ in self.taken():
                which = process.model, process.version
                self._cores[which] = self._cores.get(which, 0.0) + cores
        return self._cores.get((key[0], str(key[1])))

    def gauge(self, key: Key, name: str) -> float | None:
        """A gauge of a version as it is now; None where that is not known."""
        if not self._answers or not self._moments:
            return None
        return self._moments[-1].gauges.get(key, {}).get(name)

    def _known(self, last_s: float) -> list[tuple[Moment, Mapping[Key, Step]]]:
        if not self._moments:
            return []
        begin_s = self._moments[-1].at_s - last_s
        last = itertools.takewhile(lambda one: one.at_s > begin_s, reversed(self._moments))
        return [(moment, moment.steps) for moment in last if moment.steps is not None][::-1]

    def _turn(self, *, answers: bool, problem: str, at_s: float) -> None:
        if self.since_s is None or answers != self._answers:
            self.since_s = at_s
        self._answers, self.problem = answers, problem

    def _add(self, moment: Moment) -> None:
        self._moments.append(moment)
        while self._moments[0].at_s < moment.at_s - self._kept_s:
            self._moments.popleft()


def _steps(before: Snapshot, after: Snapshot, seconds: float) -> dict[Key, Step]:
    steps = {
        key: between(before.versions.get(key), version, seconds)
        for key, version in after.versions.items()
    }
    return {key: step for key, step in steps.items() if not step.idle}


def _cpu_s(before: Look, after: Look) -> dict[Process, float]:
    """What each process took; one that is new has taken all of it since.

    Where it has fallen another is there under that name, or one fewer, and how much of its time is
    of this step is not known: none.
    """
    taken = {}
    for process, use in after.snapshot.processes.items():
        then = before.snapshot.processes.get(process, ProcessUse())
        taken[process] = max(0.0, use.cpu_s - then.cpu_s)
    return taken


def _bin(moments: Sequence[Moment], key: Key) -> Bin:
    known = [(one, one.steps) for one in moments if one.steps is not None]
    steps = [steps.get(key, Step(one.seconds)) for one, steps in known]
    waiting = [one.gauges[key][_QUEUE] for one in moments if _QUEUE in one.gauges.get(key, {})]
    return Bin(
        moments[-1].at_s,
        join(steps) if steps else None,
        sum(waiting) / len(waiting) if waiting else None,
    )
