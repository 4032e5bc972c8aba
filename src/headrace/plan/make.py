"""A plan: what a machine can do inside the objective, at which loads, and why not more. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from headrace.plan import laws
from headrace.plan.estimate import Estimate
from headrace.plan.limit import fewest, highest
from headrace.plan.machine import STEADY, Front, Machine, spread_of
from headrace.plan.play import Played, play, play_once
from headrace.plan.profile import ModelProfile
from headrace.plan.question import IN_TIME, Question
from headrace.plan.scaling import Scaling
from headrace.scheduler.simulate import Speed, undisturbed

# More lanes than this many times what the law says are not looked for: they would not help.
_MOST_LANES_FACTOR, _MORE_LANES = 2, 8
# A model whose objective is hardly longer than its run has a limit far below its capacity.
_DEEPER = 8


@dataclass(frozen=True, slots=True)
class Level:
    """A load, and what comes of it; ``share`` is of the limit, None of a rate that was asked for.

    ``law`` is what the closed forms say of the same, ``waiting`` how many requests are in the
    server on average.
    """

    share: float | None
    played: Played
    law: laws.BatchQueue
    in_server: float | None


@dataclass(frozen=True, slots=True)
class Enough:
    """What a rate needs: instances of one server, or servers like this one; None: more than tried.

    ``share`` is how much of its limit each of the servers serves.
    """

    rate_rps: float
    instances: int | None
    servers: int | None
    share: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that was found. ``limit`` is the highest rate inside the objective, requests a second.

    ``capacity`` is what the lanes can do with batches as large as the scheduler cuts them,
    ``unbound`` with any that were measured; in requests.
    """

    profile: ModelProfile
    question: Question
    machine: Machine
    limit: Estimate
    capacity: laws.Capacity
    unbound: laws.Capacity
    largest: int
    levels: tuple[Level, ...]
    at_limit: Level | None
    enough: Enough | None
    scaling: Scaling | None = None


def machine_of(
    profile: ModelProfile,
    question: Question,
    *,
    front: Front | None = None,
    speed: Speed = undisturbed,
) -> Machine:
    """The machine a profile describes, with as many instances as are asked for.

    Of what was calibrated nothing is guessed; ``speed``, where it is given, stands instead of what
    lanes were found to cost each other.
    """
    pairs = [(one.median_s, one.p95_s) for one in profile.measurements]
    machine = Machine(
        profile.known(instances=question.instances, slo_s=question.slo_s),
        question.elements,
        front or Front.guessed(question.elements, question.rows),
        spread_of(pairs),
        profile.cores,
        profile.threads,
        speed,
        receivers=profile.receivers,
    )
    if profile.calibration is None or front is not None:
        return machine
    calibrated = profile.calibration.applied(machine)
    return calibrated if speed is undisturbed else replace(calibrated, speed=speed)


def make_plan(
    profile: ModelProfile,
    question: Question,
    machine: Machine,
    scaling: Scaling | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Look for the limit, then play the loads; ``scaling`` is where the machine's speed is from."""
    progress("the highest rate inside the objective")
    limit = find_limit(machine, question)
    capacity = machine.capacity(machine.largest(), question.rows)
    levels = []
    for share, rate_rps in _rates(question, limit.mean):
        progress(f"{rate_rps:,.0f} requests/s")
        levels.append(_level(machine, question, share, rate_rps))
    at_limit = None
    if limit.mean > 0:
        progress("what limits")
        at_limit = _level(machine, question, 1.0, limit.mean)
    enough = None
    if question.rate_rps is not None:
        progress(f"what {question.rate_rps:,.0f} requests/s need")
        peak = math.inf if scaling is None else scaling.peak.value
        enough = _enough(machine, question, question.rate_rps, limit.mean, peak)
    return Plan(
        profile,
        question,
        machine,
        limit,
        capacity,
        machine.capacity(max(machine.known.sizes), question.rows),
        machine.largest(),
        tuple(levels),
        at_limit,
        enough,
        scaling,
    )


def find_limit(machine: Machine, question: Question) -> Estimate:
    """The highest rate at which 99 of 100 requests are answered in time, for every seed its own.

    Not past what the receivers take, whose queue grows for ever there: a play is too short to show
    it. Without an objective: 95 % of capacity, past which queues grow for minutes.
    """
    most_rps = machine.capacity(max(machine.known.sizes), question.rows).rate_rps
    if question.slo_s is None:
        return Estimate(STEADY * most_rps, None)

    def of(seed: int) -> float:
        def good(rate_rps: float) -> bool:
            played = play_once(machine, question, rate_rps, seed, at_least=IN_TIME)
            return played.in_time_share >= IN_TIME

        return highest(good, min(most_rps, machine.receivers_rps), deeper=_DEEPER)

    return Estimate.of([of(seed) for seed in range(question.seeds)])


def _rates(question: Question, limit_rps: float) -> Iterator[tuple[float | None, float]]:
    if limit_rps > 0:
        yield from ((share, share * limit_rps) for share in question.loads)
    if question.rate_rps is not None:
        yield None, question.rate_rps


def _level(machine: Machine, question: Question, share: float | None, rate_rps: float) -> Level:
    played = play(machine, question, rate_rps)
    rows_rps = rate_rps * question.rows
    law = laws.batch_queue(rows_rps, machine.curve(), machine.lanes, machine.largest())
    mean_s = None if played.mean_s is None else played.mean_s.mean
    in_server = None if mean_s is None else laws.in_system(played.answered_rps, mean_s)
    return Level(share, played, law, in_server)


def _enough(
    machine: Machine, question: Question, rate_rps: float, limit_rps: float, peak: float
) -> Enough:
    """Look for the fewest lanes, up to the peak past which more do less.

    The receivers stay as they are, and past what they take no lanes help; for more lanes there are
    more cores.
    """

    def keeps_up(instances: int) -> bool:
        known = replace(machine.known, instances=instances)
        cores = max(machine.cores, instances * machine.threads)
        more = replace(machine, known=known, cores=cores)
        if question.slo_s is None:
            return rate_rps <= STEADY * more.capacity(max(known.sizes), question.rows).rate_rps
        return play(more, question, rate_rps).in_time.mean >= IN_TIME

    one = replace(machine, known=replace(machine.known, instances=1))
    one_rps = one.capacity(max(machine.known.sizes), question.rows).rate_rps
    least = laws.machines(rate_rps, one_rps)
    most = int(min(_MOST_LANES_FACTOR * least + _MORE_LANES, peak))
    helps = most >= least and rate_rps <= machine.receivers_rps
    instances = fewest(keeps_up, least, most) if helps else None
    if limit_rps <= 0:
        return Enough(rate_rps, instances, None, None)
    servers = laws.machines(rate_rps, limit_rps)
    return Enough(rate_rps, instances, servers, rate_rps / servers / limit_rps)
