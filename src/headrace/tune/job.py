"""A tuning under way: what every step of it is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headrace.engine.checks.room import free_bytes
from headrace.tune.journal import Journal
from headrace.tune.model import Model
from headrace.tune.progress import Progress
from headrace.tune.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Job:
    """The model, what is wanted of it, samples (None: made up), what is known, and who is told."""

    model: Model
    wanted: Wanted
    data: Path | None
    journal: Journal
    progress: Progress


def room_bytes(share: float) -> float:
    """This part of the memory that is free; without a bound where nobody knows."""
    free = free_bytes()
    return float("inf") if free is None else share * free
