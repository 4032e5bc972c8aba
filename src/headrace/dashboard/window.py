"""What happened to a version between two looks at its counters: pure.

Counters only rise, until a receiver is restarted: then they begin again at 0. Whatever has fallen
since the last look has begun anew, and all of it came since then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from headrace.dashboard.counts import Counts, summed
from headrace.dashboard.scrape import Version

Named = TypeVar("Named", bound=Hashable)

OK = "ok"
"""The outcome of what was answered; all others are codes of errors."""

SHOWN_PHASES = (
    "load",
    "receive",
    "decode",
    "queue",
    "assemble",
    "infer",
    "results",
    "encode",
    "other",
)
"""In the order of a request; ``other`` is the way between the processes, and waiting for a lane."""
# Few requests have it.
_SELDOM = "load"


@dataclass(frozen=True, slots=True)
class Step:
    """What came in some seconds: requests by outcome, times by phase, rows a batch, elements."""

    seconds: float = 0.0
    outcomes: Mapping[str, float] = field(default_factory=dict)
    phases: Mapping[str, Counts] = field(default_factory=dict)
    rows: Counts = field(default_factory=Counts)
    elements: Mapping[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """How many came, whatever became of them."""
        return sum(self.outcomes.values())

    @property
    def idle(self) -> bool:
        """Whether nothing happened."""
        return not self.requests and not self.rows.count

    @property
    def rate_rps(self) -> float:
        """Requests a second, whatever became of them."""
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    def outcome_rps(self, outcome: str) -> float:
        """Requests a second that ended so."""
        return self.outcomes.get(outcome, 0.0) / self.seconds if self.seconds > 0 else 0.0

    @property
    def failed_rps(self) -> float:
        """Requests a second that were not answered with outputs."""
        return self.rate_rps - self.outcome_rps(OK)

    def quantile_s(self, share: float) -> float | None:
        """A percentile of the whole times of requests; None of none."""
        return self.phases.get("total", Counts()).quantile(share)

    def phase_means_s(self) -> dict[str, float]:
        """How long each phase took on average, in the order of a request; {} of none.

        Each is the mean of those that had it, which in overload are more than were answered: who
        is refused has been received. Only the wait for a load, which few have, is spread over all.
        What the total has and they have not is ``other``.
        """
        total = self.phases.get("total", Counts())
        if total.mean is None:
            return {}
        means = {}
        for name in SHOWN_PHASES[:-1]:
            counts = self.phases.get(name, Counts())
            means[name] = counts.total / total.count if name == _SELDOM else counts.mean or 0.0
        return means | {"other": max(total.mean - sum(means.values()), 0.0)}

    @property
    def mean_batch(self) -> float | None:
        """Rows a batch; None where none ran."""
        return self.rows.mean

    @property
    def padded(self) -> float | None:
        """The share of what ran that was padding; None where nothing is ever padded, or ran."""
        total = sum(self.elements.values())
        return self.elements.get("padding", 0.0) / total if total else None

    @property
    def busy_lanes(self) -> float:
        """How many instances were running, on average."""
        ran_s = self.phases.get("infer", Counts()).total
        return ran_s / self.seconds if self.seconds > 0 else 0.0


def between(before: Version | None, after: Version, seconds: float) -> Step:
    """What came between two looks; a version that was not there before has begun at 0."""
    if before is None or _began_anew(before, after):
        before = Version()
    outcomes = increase(before.outcomes, after.outcomes)
    phases = {
        name: counts.since(before.phases.get(name, Counts()))
        for name, counts in after.phases.items()
    }
    elements = increase(before.elements, after.elements)
    return Step(seconds, outcomes, phases, after.rows.since(before.rows), elements)


def increase(before: Mapping[Named, float], after: Mapping[Named, float]) -> dict[Named, float]:
    """How much counters have risen, of those that have; one that has fallen has begun anew."""
    risen = {}
    for name, value in after.items():
        then = before.get(name, 0.0)
        more = value - then if value >= then else value
        if more:
            risen[name] = more
    return risen


def join(steps: Iterable[Step]) -> Step:
    """Several steps as one."""
    taken = list(steps)
    names = {name for one in taken for name in one.phases}
    return Step(
        sum(one.seconds for one in taken),
        _added(one.outcomes for one in taken),
        {name: summed(one.phases.get(name, Counts()) for one in taken) for name in names},
        summed(one.rows for one in taken),
        _added(one.elements for one in taken),
    )


def _added(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for one in several:
        total.update(one)
    return dict(total)


def _began_anew(before: Version, after: Version) -> bool:
    """Whether anything fell: then all have begun anew, also those that have risen since."""
    if any(after.outcomes.get(name, 0.0) < value for name, value in before.outcomes.items()):
        return True
    if after.rows.fell_from(before.rows):
        return True
    return any(
        after.phases.get(name, Counts()).fell_from(then) for name, then in before.phases.items()
    )
