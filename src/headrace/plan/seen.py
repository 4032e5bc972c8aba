"""What a server has seen run between two questions: pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)


class Ran(NamedTuple):
    """A batch that has run: when it ended, by the server's clock."""

    rows: int
    infer_s: float
    ended_s: float


class SizeSeen(BaseModel):
    """Batches of one size so far, and how long all of them ran."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    rows: PositiveInt
    count: NonNegativeInt
    infer_s: NonNegativeFloat


class Recent(BaseModel):
    """The last batches in order: when each ended, its rows, and how long it ran."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    ended_s: tuple[float, ...] = ()
    rows: tuple[PositiveInt, ...] = ()
    infer_s: tuple[NonNegativeFloat, ...] = ()

    @model_validator(mode="after")
    def _as_long(self) -> Self:
        if not len(self.ended_s) == len(self.rows) == len(self.infer_s):
            raise ValueError("of each batch there should be its end, its rows and its time")
        return self

    def after(self, at_s: float) -> tuple[Ran, ...]:
        """Those that ended later than this."""
        all_of_them = map(Ran, self.rows, self.infer_s, self.ended_s)
        return tuple(one for one in all_of_them if one.ended_s > at_s)


class Seen(BaseModel):
    """What has run of a version so far; ``cpu_s`` is what the receiver has used, for all models.

    ``tail_ratio`` is what 98 of 100 runs stay under, in expected times, and ``handover_s`` what a
    batch takes besides its run; both of late. ``recent`` are the last batches, which servers told
    nothing of once, and ``now_s`` is the time by their clock. ``lanes`` is how many of its lanes
    the server lets take batches, None where that is not known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    cpu_s: NonNegativeFloat
    answered: NonNegativeInt
    tail_ratio: Annotated[float, Field(ge=1)]
    handover_s: NonNegativeFloat
    runs: tuple[SizeSeen, ...]
    now_s: float = 0.0
    recent: Recent = Recent()
    lanes: PositiveInt | None = None


@dataclass(frozen=True, slots=True)
class Between:
    """What ran between two questions.

    ``runs`` are (rows, batches, seconds in all) by size, ``recent`` the last of those batches in
    the order in which they ended. ``lanes`` is how many took batches, None where that is not known;
    where it has changed meanwhile, the more of both; of several parts together nothing is said.
    """

    cpu_s: float
    answered: int
    runs: tuple[tuple[int, int, float], ...]
    recent: tuple[Ran, ...] = ()
    lanes: int | None = None

    @classmethod
    def of(cls, before: Seen, after: Seen) -> Between:
        """The difference.

        Raises:
            ValueError: the second is not later: the receiver has been restarted.
        """
        old = {one.rows: one for one in before.runs}
        runs = []
        for one in after.runs:
            then = old.get(one.rows)
            count = one.count - (0 if then is None else then.count)
            infer_s = one.infer_s - (0.0 if then is None else then.infer_s)
            if count > 0:
                runs.append((one.rows, count, infer_s))
        answered = after.answered - before.answered
        if answered < 0 or after.cpu_s < before.cpu_s:
            raise ValueError("the counts have begun anew: the receiver was restarted meanwhile")
        recent = after.recent.after(before.now_s)
        lanes = max((n for n in (before.lanes, after.lanes) if n is not None), default=None)
        return cls(after.cpu_s - before.cpu_s, answered, tuple(runs), recent, lanes)

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """What ran in several of those, one after the other."""
        counts: Counter[int] = Counter()
        seconds: defaultdict[int, float] = defaultdict(float)
        for part in parts:
            for rows, count, infer_s in part.runs:
                counts[rows] += count
                seconds[rows] += infer_s
        return cls(
            math.fsum(part.cpu_s for part in parts),
            sum(part.answered for part in parts),
            tuple((rows, counts[rows], seconds[rows]) for rows in sorted(counts)),
            tuple(run for part in parts for run in part.recent),
        )

    @property
    def batches(self) -> int:
        """How many batches ran."""
        return sum(count for _, count, _ in self.runs)

    @property
    def mean_batch(self) -> float:
        """Rows of a batch, on average."""
        return sum(rows * count for rows, count, _ in self.runs) / max(self.batches, 1)

    @property
    def infer_s(self) -> float:
        """How long all of them ran."""
        return sum(infer_s for _, _, infer_s in self.runs)

    def stretch(self, expect: Callable[[int], float]) -> float | None:
        """How many times longer runs were than expected of their sizes; None: nothing ran."""
        expected_s = sum(count * expect(rows) for rows, count, _ in self.runs)
        return self.infer_s / expected_s if expected_s > 0 else None
