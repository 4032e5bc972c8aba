"""Why a plan's numbers are what they are, in sentences for people: pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from headrace.plan.machine import Front, Machine
from headrace.plan.make import Level, Plan
from headrace.plan.scaling import Interval
from headrace.scheduler.known import ONE_LANE_S

_MS = 1e3
# The limit is that of the model if it is this near to what lanes can do without an objective; the
# rest is what chance leaves idle.
_ALL = 0.85
# The receiver's one thread from here on makes requests wait for it, not for the lanes.
_FRONT_BUSY = 0.8
# Of a receiver that is less busy nobody needs to know how exactly that is known.
_GUESS_MATTERS = 0.3
# Twice the batch at this many times the cost: batching pays, pays a little, is used up.
_PAYS, _USED_UP = 1.5, 1.9


def reasons(plan: Plan) -> list[str]:
    """Say what limits, what batching gives, how many requests are there, and what a rate needs."""
    said = (*_limit(plan), *_few_lanes(plan), *_batching(plan))
    return [*said, *_inside(plan), *_scaling(plan), *_enough(plan)]


def _limit(plan: Plan) -> Iterator[str]:
    slo_s, level = plan.question.slo_s, plan.at_limit
    lanes = _lanes(plan)
    if level is None:
        yield _none(plan)
        return
    busy, front = level.played.busy.mean, _front_busy(plan, level)
    guessed = plan.machine.front == Front.guessed(plan.question.elements, plan.question.rows)
    if slo_s is None:
        yield (
            "There is no objective, so the limit is 95 % of capacity: nearer to it, requests wait "
            "ever longer. Plan with one: --slo-ms."
        )
    if front >= _FRONT_BUSY:
        yield (
            f"{_receivers(plan)} busy {_percent(front)} of the time at "
            f"{_rate(level.played.rate_rps)} requests/s, and {lanes} {_percent(busy)}."
        )
    elif slo_s is None or level.played.rate_rps >= _ALL * plan.unbound.rate_rps:
        yield f"What limits is the model: at the limit {lanes} busy {_percent(busy)} of the time."
    else:
        run_s = plan.machine.curve()(plan.unbound.batch)
        yield (
            f"What limits is the objective: the model could do {_rate(plan.unbound.rate_rps)} "
            f"requests/s in batches of {plan.unbound.batch}, which take {_ms(run_s)}; within "
            f"{_ms(slo_s)} so many cannot wait for each other. At the limit {lanes} busy "
            f"{_percent(busy)} of the time, with {level.played.batch.mean:.1f} rows in a batch."
        )
    if guessed and front >= _GUESS_MATTERS:
        yield (
            f"What a request costs the receiver, {_ms(plan.machine.front.each_s)}, is a guess, "
            "which may be several times too low for this machine: --measure finds out."
        )


def _none(plan: Plan) -> str:
    """Why no rate was found; without an objective there is always one."""
    alone_s = plan.machine.curve()(plan.question.rows) + plan.machine.front.way_s
    why, slo_s = f"a request that is alone takes {_ms(alone_s)}", plan.question.slo_s
    if slo_s is not None and alone_s <= slo_s:
        why += f" at the median, which is too near to {_ms(slo_s)} for 99 of 100"
    return f"No rate is inside the objective: {why}. Set a longer slo_ms, or make the model faster."


def _few_lanes(plan: Plan) -> Iterator[str]:
    if plan.machine.lanes < plan.question.instances:
        yield (
            f"A run of one row takes less than {_ms(ONE_LANE_S)}, so one lane does all, with its "
            f"next batch ready: with {plan.question.instances} batches would only be smaller."
        )


def _front_busy(plan: Plan, level: Level) -> float:
    machine = plan.machine
    return level.played.rate_rps * machine.front.each_s / machine.receivers


def _receivers(plan: Plan) -> str:
    count = plan.machine.receivers
    if count == 1:
        return "What limits is the receiver: its one thread is"
    return f"What limits are the {count} receivers: the one thread of each is"


def _batching(plan: Plan) -> Iterator[str]:
    curve, sizes = plan.machine.curve(), plan.machine.known.sizes
    largest = plan.largest
    half = max((size for size in sizes if size <= largest / 2), default=None)
    if half is not None:
        factor = curve(largest) / curve(half)
        yield (
            f"A batch of {largest} costs {factor:.1f} times a batch of {half}: "
            f"{_worth(factor, largest / half)}."
        )
    elif max(sizes) == 1:
        yield "Requests run one by one: larger batches did not pay at warm-up, or are not allowed."


def _worth(factor: float, rows: float) -> str:
    # As if the batch were twice as large, whatever the two sizes.
    doubled = factor ** (1 / math.log2(rows))
    if doubled <= _PAYS:
        return "batching pays well"
    return "batching still pays a little" if doubled < _USED_UP else "batching is used up"


def _inside(plan: Plan) -> Iterator[str]:
    level = plan.at_limit
    if level is not None and level.in_server is not None:
        yield (
            f"At the limit {level.in_server:.1f} requests are in the server on average (Little's "
            f"law), in batches of {level.played.batch.mean:.1f}."
        )


def _scaling(plan: Plan) -> Iterator[str]:
    scaling = plan.scaling
    if scaling is None:
        return
    contention, coherency, peak = scaling.contention, scaling.coherency, scaling.peak
    yield (
        f"Instances cost each other: contention {_within(contention)}, coherency "
        f"{_within(coherency)} (universal scalability law). "
        f"{count(plan.question.instances, 'instance')} do "
        f"{scaling.throughput(plan.question.instances) / scaling.one_rps.value:.2f} times one."
    )
    if math.isfinite(peak.value):
        yield (
            f"Most is done with {_within(peak)} instances, "
            f"{scaling.throughput(peak.value) / scaling.one_rps.value:.2f} times one; more do less."
        )


def _within(value: Interval) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.3g}"
    high = f"{value.high:.3g}" if math.isfinite(value.high) else "no bound"
    return f"{value.value:.3g} ({value.low:.3g} to {high})"


def _enough(plan: Plan) -> Iterator[str]:
    enough, profile = plan.enough, plan.profile
    if enough is None:
        return
    rate = f"{_rate(enough.rate_rps)} requests/s"
    if enough.servers is not None and enough.share is not None:
        yield (
            f"{rate} need {count(enough.servers, 'server')} like this one, each at "
            f"{_percent(enough.share)} of its limit; one more, for one to fail."
        )
    if enough.rate_rps > plan.machine.receivers_rps:
        yield _too_many_for_receivers(plan.machine)
        return
    if enough.instances is None:
        yield (
            "More instances in one server are not enough: the objective, or what instances cost "
            "each other limits."
        )
        return
    cores = enough.instances * profile.threads
    here = "" if cores <= profile.cores else f"; this server has {count(profile.cores, 'core')}"
    known = "by that law" if plan.scaling is not None else "if each is as fast there as here"
    yield (
        f"Or one server with {count(enough.instances, 'instance')}, {known}: "
        f"{count(cores, 'core')} for the model{here}."
    )


def _too_many_for_receivers(machine: Machine) -> str:
    """Past that ever more requests wait for a receiver; a play may be over before it shows."""
    one = machine.receivers == 1
    whose = "its receiver takes" if one else f"its {machine.receivers} receivers take"
    return (
        f"More instances in one server are not enough: {whose} {_rate(machine.receivers_rps)} "
        "requests/s for long. Start more servers, or this one with more receivers (--receivers), "
        "each on a core of its own."
    )


def at(level: Level) -> str:
    """What a row of the table is called: its share of the limit, or the rate asked for."""
    return "asked" if level.share is None else _percent(level.share)


def _lanes(plan: Plan) -> str:
    lanes, instances = plan.machine.lanes, plan.question.instances
    if lanes < instances:  # runs are so short that one lane does them all
        return "the one lane is" if lanes == 1 else f"{lanes} lanes are"
    return "the instance is" if instances == 1 else f"the {instances} instances are"


def count(number: int, what: str) -> str:
    """A number and its noun."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _rate(rate_rps: float) -> str:
    return f"{rate_rps:,.0f}" if rate_rps >= 100 else f"{rate_rps:.3g}"  # noqa: PLR2004


def _ms(seconds: float) -> str:
    return f"{_rate(seconds * _MS)} ms"
