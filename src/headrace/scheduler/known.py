"""What is known of a version when it begins to serve, and the scheduler that follows from it.

Pure. The server and the plans made for it build their schedulers here, so that what is planned with
is what runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from headrace.scheduler.batch import Policy
from headrace.scheduler.fairness import Turn
from headrace.scheduler.latency import LatencyModel, Measurement
from headrace.scheduler.policy import Scheduler

DEPTH = 2
"""Batches one lane may hold: the one it runs and the one that is ready when that ends."""

# What a batch costs the receiver and the wake-up of a lane, whatever its size (measured with both
# cores busy).
_HANDOVER_S = 0.0003
# Where runs are shorter than this, more lanes only make batches smaller: one lane, with its next
# batch ready, keeps such a model as busy as it can be.
ONE_LANE_S = 0.0005
# How long before its lane is free a batch is handed over that must be copied to a GPU meanwhile.
# One that is full loses nothing by it, and 64 MiB, a whole slot, take 8 ms over a bus of 8 GB/s;
# others may still join one that is not.
_FULL_COPY_S, _COPY_S = 0.02, 0.002


class Learnt(NamedTuple):
    """What runs have taught a scheduler: how many times longer than warm-up said they take.

    And what 98 of 100 of them stay under, in the times that are expected then.
    """

    slower: float
    tail_ratio: float


@dataclass(frozen=True, slots=True)
class Known:
    """Measured run times, the sizes that may run, and what was set.

    With ``stages`` a batch is copied while the one before computes.
    """

    measurements: tuple[Measurement, ...]
    sizes: tuple[int, ...]
    pads: bool
    instances: int
    slo_s: float | None
    max_queue: int
    linger_s: float = 0.0
    stages: int = 1
    receivers: int = 1

    @property
    def lanes(self) -> int:
        """How many batches may run at once, of one receiver."""
        shortest: dict[int, float] = {}  # of each shape
        for elements, _, median_s, _ in self.measurements:
            shortest[elements] = min(median_s, shortest.get(elements, math.inf))
        # Short ones lose less by several lanes than long ones by one.
        longest_s = max(shortest.values(), default=math.inf)
        return 1 if longest_s < ONE_LANE_S else self.instances

    @property
    def shared(self) -> bool:
        """Whether receivers use the same lanes; of a model of one lane each has its own, if any."""
        return self.receivers > 1 and (self.lanes > 1 or self.instances < self.receivers)

    def latency(self) -> LatencyModel:
        """Make what predicts its run times."""
        return LatencyModel(
            self.measurements, sizes=self.sizes, pads=self.pads, handover_s=_HANDOVER_S
        )

    def scheduler(self, turn: Turn | None = None, learnt: Learnt | None = None) -> Scheduler:
        """Make its scheduler, to which nothing has come yet.

        ``turn`` is its place at a device with other models, ``learnt`` what it is to know besides.
        """
        policy = Policy(
            slo_s=self.slo_s,
            lanes=self.lanes,
            max_queue=self.max_queue,
            max_batch=max(self.sizes, default=1),
            depth=DEPTH,
            linger_s=self.linger_s,
            receivers=self.receivers if self.shared else 1,
        )
        if self.stages > 1:
            policy = replace(policy, lead_s=_COPY_S, full_lead_s=_FULL_COPY_S)
        latency = self.latency()
        if learnt is not None:
            latency.begin_at(learnt.slower, learnt.tail_ratio)
        return Scheduler(policy, latency, turn)
