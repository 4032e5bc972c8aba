"""What a comparison came to: the numbers of both, and which differences are more than noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.load.pairs import Difference, differ, differ_in_rate
from headrace.load.report import Report
from headrace.load.verdict import Verdict

NAMES = ("A", "B")
_MS = 1e3
Differing = Callable[[Sequence[float], Sequence[float]], Difference | None]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    Attributes:
        where: which model at which server.
        slices: the numbers of each slice, in order.
        verdict: all slices as one run.
    """

    where: str
    slices: tuple[Report, ...]
    verdict: Verdict

    @property
    def silent(self) -> int:
        """In how many slices requests were sent and none was answered."""
        return sum(1 for one in self.slices if one.planned and not one.ok)


@dataclass(frozen=True, slots=True)
class Row:
    """One number of both; ``difference`` is None where it cannot be said."""

    name: str
    values: tuple[float | None, float | None]
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison came to; ``gone``: which server went away before its end, and how."""

    a: Side
    b: Side
    interrupted: bool = False
    gone: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the numbers are not what was asked for; None: they are."""
        for name, side in zip(NAMES, (self.a, self.b), strict=True):
            if side.verdict.failure is not None:
                return f"{name}: {side.verdict.failure}"
        if self.gone is not None:
            return f"{self.gone}; the numbers are of the whole blocks before"
        return "interrupted: of what was measured until then" if self.interrupted else None

    def rows(self) -> list[Row]:
        """Every number that both have."""
        found = [self._row("answers/s", lambda report: report.per_s, differ_in_rate)]
        if self.a.verdict.report is not None and self.a.verdict.report.slo_s is not None:
            found.append(self._row("in time/s", lambda one: one.goodput_per_s, differ_in_rate))
        for name, part in (("p50 ms", "p50_s"), ("p90 ms", "p90_s"), ("p99 ms", "p99_s")):
            found.append(self._row(name, _latency(part), differ))
        return found

    def _row(self, name: str, of: Callable[[Report], float | None], differing: Differing) -> Row:
        """Of each side all its slices as one; of the difference the slices against each other."""
        sides = (self.a, self.b)
        values = [None if s.verdict.report is None else of(s.verdict.report) for s in sides]
        parts = [[of(report) or 0.0 for report in side.slices] for side in sides]
        return Row(name, (values[0], values[1]), differing(*parts))


def _latency(part: str) -> Callable[[Report], float | None]:
    def of(report: Report) -> float | None:
        return None if report.latency is None else float(getattr(report.latency, part)) * _MS

    return of
