"""What a scheduler is told, makes, and says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from headrace.scheduler.queue import Entry


@dataclass(frozen=True, slots=True)
class Policy:
    """The fixed numbers of one model's scheduler.

    ``slo_s``: the objective or None · ``lanes``: concurrent batches · ``depth``: batches a lane may
    hold, the running one included · ``lead_s``: how long before a lane frees its next batch is cut,
    beyond what its way to the engine was seen to take; ``full_lead_s`` when it is full and nobody
    can join it any more · ``results_s``: what answering takes after the run · ``linger_s``: how
    long a batch that is not full may wait for more though a lane is free · ``receivers``: how many
    use the same lanes.
    """

    slo_s: float | None
    lanes: int
    max_queue: int
    max_batch: int
    depth: int = 2
    lead_s: float = 0.0005
    full_lead_s: float = 0.002
    results_s: float = 0.0005
    linger_s: float = 0.0
    receivers: int = 1


class Batch(NamedTuple):
    """Entries that run together; in a ``trial`` more than the cap, to see what that takes."""

    id: int
    entries: tuple[Entry, ...]
    rows: int
    elements: int
    cut_s: float
    start_s: float
    expected_finish_s: float
    trial: bool = False


class Statistics(NamedTuple):
    """What the scheduler holds now; the rate is as of the last time it was needed.

    ``share`` is the part of the device that it counts on, 1 where there are no other models.
    """

    waiting: int
    waiting_rows: int
    running_batches: int
    arrival_rate_rps: float
    tail: float
    overhead_s: float
    share: float
