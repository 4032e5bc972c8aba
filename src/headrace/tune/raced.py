"""What came of a race: values, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.tune.halving import Ranking, Rung
from headrace.tune.receivers import Shared
from headrace.tune.space import Candidate, LeftOut


@dataclass(frozen=True, slots=True)
class Highest:
    """The highest rate that was seen to hold, and its p99; None: none did."""

    rate_rps: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Raced:
    """What came of the race.

    ``slices`` are the answers in time a second of each, in its last rung. ``ranking`` None: there
    was no time for one. For who is not in ``highest`` no rate was tried. ``capped`` held the
    ceiling, above which nobody was driven. ``shared`` is the winner with several receivers, where
    one is what limits.
    """

    slices: Mapping[Candidate, tuple[float, ...]]
    memory_bytes: Mapping[Candidate, int]
    highest: Mapping[Candidate, Highest]
    ranking: Ranking | None
    failed: tuple[LeftOut, ...]
    capped: frozenset[Candidate]
    ceiling_rps: float
    rungs: tuple[Rung, ...]
    cut_short: bool
    shared: Shared | None = None
