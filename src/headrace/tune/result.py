"""What a tuning came to: candidates as far as they came, and the one that is taken. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.plan.estimate import Estimate
from headrace.tune.forecast import Forecast
from headrace.tune.measured import Measured
from headrace.tune.raced import Highest, Raced
from headrace.tune.space import Candidate, LeftOut, Variant
from headrace.tune.wanted import Wanted
from headrace.tuned import Accuracy


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate, as far as it came.

    ``accuracy`` None: it is what others are compared with. ``capped``: it held as much as was sent.
    """

    candidate: Candidate
    forecast: Forecast
    raced_rps: Estimate | None
    highest: Highest | None
    memory_bytes: int
    accuracy: Accuracy | None
    capped: bool = False

    @property
    def rate_rps(self) -> float:
        """What it answers in time a second: as raced, else as forecast."""
        return self.forecast.rate_rps if self.raced_rps is None else self.raced_rps.mean

    @property
    def p99_s(self) -> float | None:
        """At its highest rate where that was measured, else as forecast at four fifths of it."""
        if self.highest is not None and self.highest.p99_s is not None:
            return self.highest.p99_s
        return self.forecast.p99_s

    @property
    def forecast_error(self) -> float | None:
        """How much higher the forecast was than the race; None where more was not sent."""
        if self.raced_rps is None or self.capped or self.raced_rps.mean <= 0:
            return None
        return self.forecast.rate_rps / self.raced_rps.mean - 1


@dataclass(frozen=True, slots=True)
class Tuning:
    """All of it.

    ``rows`` are the best first, ``resumed`` is how much was known from before, ``others`` the cores
    that others used before and after.
    """

    name: str
    wanted: Wanted
    cores: int
    rows: tuple[Row, ...]
    chosen: Row
    untuned: Row
    measured: tuple[Measured, ...]
    raced: Raced
    left_out: tuple[LeftOut, ...]
    rounds: int
    origin: str
    spent_s: float
    resumed: int
    others: tuple[float, ...] = ()

    @property
    def gain(self) -> float | None:
        """How many times as much is answered in time as untuned; None: the untuned does not run."""
        if self.untuned.rate_rps <= 0 or (self.chosen.raced_rps is None) != (
            self.untuned.raced_rps is None
        ):
            return None
        return self.chosen.rate_rps / self.untuned.rate_rps

    @property
    def frontier(self) -> frozenset[Candidate]:
        """Those that no other is better than in everything."""
        return frontier(self.rows)


def make_rows(
    found: Iterable[Forecast],
    raced: Raced,
    measured: Mapping[Variant, Measured],
    accuracy: Mapping[str, Accuracy],
) -> list[Row]:
    """Put what is known of each candidate together."""
    rows = []
    for one in found:
        candidate = one.candidate
        slices = raced.slices.get(candidate)
        memory = measured[candidate.variant].memory_bytes
        rows.append(
            Row(
                candidate,
                one,
                None if slices is None else Estimate.of(slices),
                raced.highest.get(candidate),
                raced.memory_bytes.get(candidate, memory),
                accuracy.get(candidate.variant.arithmetic),
                capped=candidate in raced.capped,
            )
        )
    return rows


def in_order(rows: Iterable[Row], chosen: Candidate) -> list[Row]:
    """The one that is taken, then those that were raced, then the others, each the best first."""
    return sorted(
        rows,
        key=lambda row: (
            row.candidate != chosen,
            row.raced_rps is None,
            -row.rate_rps,
            row.candidate.cost,
        ),
    )


# What is better when it is less: all of a row that can be.
_LESS: tuple[Callable[[Row], float], ...] = (
    lambda row: -row.rate_rps,
    lambda row: float("inf") if row.p99_s is None else row.p99_s,
    lambda row: float(row.memory_bytes),
    lambda row: -1.0 if row.accuracy is None else -row.accuracy.cosine,
)


def frontier(rows: Sequence[Row]) -> frozenset[Candidate]:
    """The Pareto frontier of rate, p99, memory and likeness to f32."""
    values = {row.candidate: tuple(of(row) for of in _LESS) for row in rows}
    return frozenset(
        one
        for one, mine in values.items()
        if not any(
            theirs != mine and all(a <= b for a, b in zip(theirs, mine, strict=True))
            for other, theirs in values.items()
            if other != one
        )
    )
