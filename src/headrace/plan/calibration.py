"""What two short loads tell of a machine that warm-up cannot: pure.

One caller alone tells what a request costs besides its run, and how long runs of real requests
take. Enough callers to keep all lanes busy tell what lanes cost each other. Both tell what a
request takes from the cores. None of it is fitted to what is predicted: the loads in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat

from headrace.plan.machine import Front, Machine
from headrace.plan.seen import Between

# Of a normal law, 98 % are below so many standard deviations.
_Z98 = 2.054
# The least that a request costs anywhere: no receiver answers more than a million a second.
_LEAST_EACH_S = 1e-6


@dataclass(frozen=True, slots=True)
class Driven:
    """A closed loop, and what the server saw of it.

    ``mean_s`` is from send to answer, ``sender_cpu_s`` a request, 0 where the sender is on another
    machine. ``tail_ratio`` and ``handover_s`` are as the server had them at its end.
    """

    rate_rps: float
    mean_s: float
    sender_cpu_s: float
    ran: Between
    tail_ratio: float
    handover_s: float


class Calibration(BaseModel):
    """What was found. ``contention`` is how much each further lane slows all: 1 + c (lanes - 1)."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    each_s: PositiveFloat
    way_s: NonNegativeFloat
    cpu_s: NonNegativeFloat
    stretch: PositiveFloat
    contention: NonNegativeFloat
    spread: NonNegativeFloat
    handover_s: NonNegativeFloat

    def applied(self, machine: Machine) -> Machine:
        """The machine with what was measured in place of what was guessed."""
        return replace(
            machine,
            front=Front(self.each_s, self.way_s, self.cpu_s),
            spread=self.spread,
            speed=self.speed,
            stretch=self.stretch,
            handover_s=self.handover_s,
        )

    def speed(self, running: int) -> float:
        """How fast a lane is while so many run, if each had its cores."""
        return 1 / (1 + self.contention * (running - 1))


def calibrate(machine: Machine, quiet: Driven, busy: Driven) -> Calibration:
    """Find what the machine is like.

    Raises:
        ValueError: nothing ran.
    """
    latency = machine.known.latency()

    def expect(rows: int) -> float:
        return latency.expect(machine.elements, rows)

    stretch, slowed = quiet.ran.stretch(expect), busy.ran.stretch(expect)
    if stretch is None or slowed is None or not quiet.ran.answered or not busy.ran.answered:
        raise ValueError("the server answered nothing, so there is nothing to calibrate with")
    each_s = max(busy.ran.cpu_s / busy.ran.answered, _LEAST_EACH_S)
    cpu_s = each_s + busy.sender_cpu_s
    run_s = quiet.ran.infer_s / quiet.ran.batches
    return Calibration(
        each_s=each_s,
        way_s=max(quiet.mean_s - run_s - each_s - quiet.handover_s, 0.0),
        cpu_s=cpu_s,
        stretch=stretch,
        contention=_contention(machine, slowed / stretch, busy.rate_rps * cpu_s),
        spread=math.log(busy.tail_ratio) / _Z98,
        handover_s=quiet.handover_s,
    )


def _contention(machine: Machine, slowed: float, taken_cores: float) -> float:
    """What lanes cost each other, without what requests took from their cores meanwhile."""
    if machine.lanes == 1:
        return 0.0
    left = max(machine.cores - taken_cores, 0.0) / (machine.lanes * machine.threads)
    return max(slowed * min(left, 1.0) - 1, 0.0) / (machine.lanes - 1)
