"""What each candidate would do under load, played on the server's own scheduler. Pure.

The machine of a plan (``headrace.plan.machine``) is made of what labs measured; its highest rate
inside the objective is looked for. A candidate whose lanes cannot do as much as others are known
to do is not played.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.engine.warmup import SIZES
from headrace.plan.limit import highest
from headrace.plan.machine import Front, Machine, spread_of
from headrace.plan.play import play_once
from headrace.plan.question import Question
from headrace.scheduler.known import Known
from headrace.scheduler.simulate import Result
from headrace.tune.halving import FAR
from headrace.tune.linger import lingers
from headrace.tune.measured import Measured
from headrace.tune.space import Candidate, Variant, candidates
from headrace.tune.wanted import Objective

# Requests of a play: enough for 15 of them to be past a p99, few enough for a play to take 0.1 s.
_COUNTED = 1500
# Each step halves what is not known: 7 of them leave 0.8 %.
_STEPS = 7
# At the highest rate p99 is the objective; what a candidate is like is told at this share of it.
_SHARE = 0.8
# Rates so near are alike: of them the cheaper candidate is taken.
ALIKE = 0.01
# So much of the objective a batch and the wait for a lane take at most, as warm-up reckons.
_TAIL = 1.1
_MAX_QUEUE = 2048


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a candidate would do.

    ``rate_rps`` is the highest rate inside the objective, ``p99_s`` and ``batch`` are at four
    fifths of it; ``front_busy`` is how busy the receiver's thread is at it. ``bound_rps`` is what
    the lanes could do without an objective, ``knee`` the batch past which larger ones hardly pay.
    """

    candidate: Candidate
    rate_rps: float
    p99_s: float | None
    batch: float
    front_busy: float
    bound_rps: float
    knee: int

    @property
    def used(self) -> float:
        """The share of it that is left within the objective."""
        return self.rate_rps / self.bound_rps if self.bound_rps else 0.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What all candidates share: the objective and the cores.

    ``linger_ms`` is what somebody has set, which is not tuned then; None: nothing.
    """

    objective: Objective
    cores: int
    max_queue: int = _MAX_QUEUE
    linger_ms: float | None = None


def machine(measured: Measured, candidate: Candidate, setting: Setting) -> Machine:
    """The machine that a candidate would be."""
    slo_s = setting.objective.slo_s
    points = measured.points[:1] + tuple(
        point
        for point in measured.points[1:]
        if point.rows <= candidate.max_batch
        and (_TAIL + 1 / candidate.instances) * point.median_s <= slo_s
    )
    largest = points[-1].rows
    known = Known(
        tuple((measured.elements, p.rows, p.median_s, p.p95_s) for p in points),
        sizes=tuple(size for size in SIZES if size <= largest),
        pads=measured.pads,
        instances=candidate.instances,
        slo_s=slo_s,
        max_queue=setting.max_queue,
        linger_s=candidate.linger_ms / 1e3,
    )
    return Machine(
        known,
        measured.elements,
        Front.guessed(measured.elements, 1),
        spread_of([(point.median_s, point.p95_s) for point in points]),
        setting.cores,
        candidate.threads,
        measured.speed,
    )


def forecast(measured: Measured, candidate: Candidate, setting: Setting) -> Forecast:
    """Look for its highest rate inside the objective."""
    here = machine(measured, candidate, setting)
    question = Question(candidate.instances, setting.objective.slo_s, measured.elements, seeds=1)
    bound_rps = bound(here)

    def played_at(rate_rps: float, at_least: float = 0.0) -> Result:
        return play_once(here, question, rate_rps, 0, counted=_COUNTED, at_least=at_least)

    def good(rate_rps: float) -> bool:
        share = setting.objective.quantile
        return played_at(rate_rps, share).in_time_share >= share

    rate_rps = highest(good, min(bound_rps, here.receivers_rps), _STEPS)
    played = played_at(_SHARE * rate_rps) if rate_rps else None
    return Forecast(
        candidate,
        rate_rps,
        None if played is None else played.p99_s,
        1.0 if played is None else played.mean_batch,
        rate_rps * here.front.each_s,
        bound_rps,
        measured.knee,
    )


def bound(here: Machine) -> float:
    """The most requests a second that its lanes and its receiver could do."""
    return here.capacity(max(here.known.sizes)).rate_rps


def forecasts(
    rows: Iterable[Measured], setting: Setting, keep: int, always: Sequence[Candidate] = ()
) -> Iterator[Forecast]:
    """Forecast what may be among the best ``keep``, the most promising first; ``always`` before."""
    measured = {row.variant: row for row in rows}
    for candidate in always:
        yield forecast(measured[candidate.variant], candidate, setting)
    best: list[float] = []
    for bound_rps, group in _groups(measured, setting):
        if len(best) >= keep and bound_rps < sorted(best)[-keep]:
            return
        row, played = measured[group[0].variant], list[Forecast]()
        for candidate in group:
            if candidate not in always:
                played.append(forecast(row, candidate, setting))
                yield played[-1]
        first = max(played, key=lambda one: one.rate_rps, default=None)
        if first is None:
            continue
        if first.rate_rps >= FAR * max(best, default=0.0):
            yield from _lingering(row, first, setting)
        best.append(first.rate_rps)


def _lingering(row: Measured, first: Forecast, setting: Setting) -> Iterator[Forecast]:
    """The best of a group again, with batches that wait for more; not where that cannot pay."""
    if setting.linger_ms is not None or not first.rate_rps:
        return
    here = machine(row, first.candidate, setting)
    for linger_ms in lingers(here, first.used, setting.objective.slo_s).tried_ms:
        yield forecast(row, replace(first.candidate, linger_ms=linger_ms), setting)


def _groups(
    measured: Mapping[Variant, Measured], setting: Setting
) -> list[tuple[float, list[Candidate]]]:
    """Candidates that differ only in their cap, with what they can do at most; most first.

    Caps past the knee are left to the scheduler, which finds the knee itself: the last one stands
    for all of them.
    """
    groups: dict[tuple[Variant, int], list[Candidate]] = {}
    for row in measured.values():
        linger_ms = setting.linger_ms or 0.0
        for candidate in candidates(row.variant, row.sizes, setting.cores, linger_ms):
            groups.setdefault((row.variant, candidate.instances), []).append(candidate)
    found = []
    for (variant, _), group in groups.items():
        sizes = measured[variant].sizes
        near = _near(sizes, measured[variant].knee)
        largest = max(group, key=lambda one: one.max_batch)
        bound_rps = bound(machine(measured[variant], largest, setting))
        found.append((bound_rps, [one for one in group if one.max_batch in near]))
    return sorted(found, key=lambda one: -one[0])


def _near(sizes: Sequence[int], knee: int) -> frozenset[int]:
    """1, the knee, a step to both sides of it, and the largest."""
    place = sizes.index(knee)
    return frozenset((sizes[0], *sizes[max(place - 1, 0) : place + 2], sizes[-1]))


def best_of_each(found: Iterable[Forecast], worth: Mapping[Candidate, float]) -> list[Forecast]:
    """Of candidates that differ only in their cap the best, or of what is alike that at the knee.

    A smaller cap would forgo what larger batches save when more is asked than was foreseen.

    With the best of those that linger, where that is more: what it is worth the race has to show.
    And of the best of all that with the smallest cap, where it is not far behind: there a run of
    several rows saves little, and costs those their deadline that wait for it.
    """
    groups: dict[tuple[Variant, int], list[Forecast]] = {}
    for one in found:
        key = (one.candidate.variant, one.candidate.instances)
        groups.setdefault(key, []).append(one)
    chosen = []
    for group in groups.values():
        at_once = [one for one in group if not one.candidate.linger_ms]
        kinds = [at_once, group] if at_once else [group]
        chosen += list(dict.fromkeys(_at_knee(kind, worth) for kind in kinds))
    ordered = sorted(chosen, key=lambda one: (-worth[one.candidate], one.candidate.cost))
    for best in ordered[:1]:
        smallest = _smallest(groups[best.candidate.variant, best.candidate.instances])
        near = worth[smallest.candidate] >= FAR * worth[best.candidate]
        if near and smallest not in ordered:
            ordered.insert(1, smallest)
    return ordered


def _smallest(group: Sequence[Forecast]) -> Forecast:
    """That with the smallest cap."""
    return min(group, key=lambda one: (one.candidate.max_batch, one.candidate.linger_ms))


def _at_knee(group: Sequence[Forecast], worth: Mapping[Candidate, float]) -> Forecast:
    """Of what does about as much as the best."""
    most = max(worth[one.candidate] for one in group)
    alike = [one for one in group if worth[one.candidate] >= (1 - ALIKE) * most]

    def rank(one: Forecast) -> tuple[float, float, int]:
        cap = one.candidate.max_batch
        return one.candidate.linger_ms, abs(math.log2(cap / one.knee)), cap

    return min(alike, key=rank)
