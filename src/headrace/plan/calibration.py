"""What short loads tell of a machine that warm-up cannot: pure.

One request after the other, with pauses, tells what a request costs besides its run, and how long
runs of real requests take: after a pause nothing is in any cache, as at most loads. Enough callers
to keep all lanes busy tell what lanes cost each other. Both tell what a request takes from the
cores. Requests that come by chance, at a middling rate, tell how much longer runs take when others
come meanwhile, and requests on their way. Of response times, which are what is predicted, only
those of the first are read, and the median of the last.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat

from headrace.plan.machine import Z98, Front, Machine, Middle
from headrace.plan.pace import Trace, traced
from headrace.plan.seen import Between
from headrace.plan.sizes import Factors, corrected, factors
from headrace.scheduler.known import Known

# The least that a request costs anywhere: no receiver answers more than a million a second.
_LEAST_EACH_S = 1e-6

SEQUENCES = {"quiet_trace", "middle_trace", "full_trace", "ways_s"}
"""What a calibration has of single runs and requests: thousands of numbers, to draw from."""


@dataclass(frozen=True, slots=True)
class Driven:
    """A load, and what the server saw of it.

    ``mean_s`` is from when a request was to be sent to its answer, ``sender_cpu_s`` a request, 0
    where the sender is on another machine. ``tail_ratio`` and ``handover_s`` are as the server had
    them at its end, ``alone_s`` what each request took that had a run of its own, and that run.
    """

    rate_rps: float
    mean_s: float
    sender_cpu_s: float
    ran: Between
    tail_ratio: float
    handover_s: float
    alone_s: tuple[tuple[float, float], ...] = ()

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Several loads of one kind as one."""
        counts = [part.ran.answered for part in parts]
        seconds = [count / part.rate_rps for part, count in zip(parts, counts, strict=True)]
        return cls(
            sum(counts) / math.fsum(seconds),
            statistics.fmean([part.mean_s for part in parts], counts),
            statistics.fmean([part.sender_cpu_s for part in parts], counts),
            Between.together([part.ran for part in parts]),
            statistics.fmean([part.tail_ratio for part in parts]),
            statistics.fmean([part.handover_s for part in parts]),
            tuple(pair for part in parts for pair in part.alone_s),
        )

    def ways(self, besides_s: float) -> tuple[float, ...]:
        """What those requests took but for their runs and this."""
        ways = [max(taken_s - infer_s - besides_s, 0.0) for taken_s, infer_s in self.alone_s]
        return tuple(round(way_s, 6) for way_s in ways)


class Calibration(BaseModel):
    """What was found. ``contention`` is how much each further lane slows all: 1 + c (lanes - 1).

    ``middle_slower`` and ``middle_spread`` are of runs at ``middle_rps``; 0: nobody looked.
    ``full_slower`` is of those at ``full_rps``, where they are shorter than after a pause.
    ``middle_trace`` and ``full_trace`` are how fast the machine was from moment to moment there,
    and ``quiet_trace`` how it was with one caller: of a server that does not tell its runs there
    are none, and chance is as the spreads say. ``ways_s`` are ways of single requests, one after
    the other, whose mean is ``way_s`` or less, and ``middle_way_s`` is how much longer they are at
    ``middle_rps``. ``sizes`` are how many times longer than warm-up said runs of so many rows are,
    beside those of others; all else is with that.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    each_s: PositiveFloat
    way_s: NonNegativeFloat
    cpu_s: NonNegativeFloat
    stretch: PositiveFloat
    contention: NonNegativeFloat
    spread: NonNegativeFloat
    handover_s: NonNegativeFloat
    middle_rps: NonNegativeFloat = 0.0
    full_rps: NonNegativeFloat = 0.0
    full_slower: PositiveFloat = 1.0
    middle_slower: PositiveFloat = 1.0
    middle_spread: NonNegativeFloat = 0.0
    quiet_trace: Trace = ()
    middle_trace: Trace = ()
    full_trace: Trace = ()
    ways_s: tuple[NonNegativeFloat, ...] = ()
    middle_way_s: float = 0.0
    sizes: Factors = ()

    def applied(self, machine: Machine) -> Machine:
        """The machine with what was measured in place of what was guessed."""
        return replace(
            machine,
            known=corrected(machine.known, self.sizes),
            front=Front(self.each_s, self.way_s, self.cpu_s, self.ways_s),
            spread=self.spread,
            trace=self.full_trace,
            speed=self.speed,
            stretch=self.stretch,
            handover_s=self.handover_s,
            middle=self._middle(),
        )

    def with_middle(
        self,
        rate_rps: float,
        full_rps: float,
        slower: float,
        tail_ratio: float,
        trace: Trace = (),
    ) -> Calibration:
        """The same with what was seen at a rate between none and ``full_rps``.

        ``slower`` is how many times longer lanes were busy than was reckoned without it.
        """
        return self.model_copy(
            update={
                "middle_rps": rate_rps,
                "full_rps": full_rps,
                "middle_slower": slower,
                "middle_spread": math.log(tail_ratio) / Z98,
                "middle_trace": trace,
            }
        )

    def with_middle_way(self, longer_s: float) -> Calibration:
        """The same with how much longer than reckoned half of the requests took there."""
        return self.model_copy(update={"middle_way_s": longer_s})

    def _middle(self) -> Middle | None:
        if not self.full_rps > self.middle_rps > 0:
            return None
        return Middle(
            self.middle_rps,
            self.full_rps,
            self.middle_slower,
            self.middle_spread,
            self.full_slower,
            self.middle_trace,
            self.quiet_trace,
            self.middle_way_s,
        )

    def speed(self, running: int) -> float:
        """How fast a lane is while so many run, if each had its cores."""
        return speed_of(self.contention, running)


def speed_of(contention: float, running: int) -> float:
    """How fast each of so many lanes is."""
    return 1 / (1 + contention * (running - 1))


def calibrate(
    machine: Machine, quiet: Driven, busy: Driven, middle: Between | None = None
) -> Calibration:
    """Find what the machine is like; what ran in the middle tells of sizes, too.

    Raises:
        ValueError: nothing ran.
    """
    loads = [load for load in (quiet.ran, middle, busy.ran) if load is not None]
    sizes = factors(_expecting(machine.known, machine.elements), loads)
    expect = _expecting(corrected(machine.known, sizes), machine.elements)
    stretch, slowed = quiet.ran.stretch(expect), busy.ran.stretch(expect)
    if stretch is None or slowed is None or not quiet.ran.answered or not busy.ran.answered:
        raise ValueError("the server answered nothing, so there is nothing to calibrate with")
    each_s = max(busy.ran.cpu_s / busy.ran.answered, _LEAST_EACH_S)
    cpu_s = each_s + busy.sender_cpu_s
    run_s = quiet.ran.infer_s / quiet.ran.batches
    shared = _without_requests(machine, slowed / stretch, busy.rate_rps * cpu_s)
    contention = max(shared - 1, 0.0) / (machine.lanes - 1) if machine.lanes > 1 else 0.0
    speed = partial(speed_of, contention)
    return Calibration(
        each_s=each_s,
        way_s=max(quiet.mean_s - run_s - each_s - quiet.handover_s, 0.0),
        cpu_s=cpu_s,
        stretch=stretch,
        contention=contention,
        full_slower=min(shared, 1.0),
        spread=math.log(busy.tail_ratio) / Z98,
        handover_s=quiet.handover_s,
        quiet_trace=traced(quiet.ran.recent, expect, speed),
        full_trace=traced(busy.ran.recent, expect, speed),
        ways_s=quiet.ways(each_s + quiet.handover_s),
        sizes=sizes,
    )


def _expecting(known: Known, elements: int) -> Callable[[int], float]:
    latency = known.latency()
    return lambda rows: latency.expect(elements, rows)


def _without_requests(machine: Machine, slowed: float, taken_cores: float) -> float:
    """How many times longer busy lanes run, without what requests took from their cores."""
    left = machine.cores_left(taken_cores) / (machine.lanes * machine.threads)
    return slowed * min(left, 1.0)
