"""What limits what, in sentences for people: pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from headrace.settings import Precision
from headrace.tune.forecast import Setting, machine
from headrace.tune.halving import FAR, TELLABLE, likely_worth
from headrace.tune.linger import lingers
from headrace.tune.measured import Measured
from headrace.tune.receivers import FRONT_BUSY, worth_trying
from headrace.tune.result import Row, Tuning
from headrace.tune.space import Candidate, Variant, count

# What is this near is told as alike.
_ALIKE = 0.05
_MS = 1e3


def reasons(tuning: Tuning) -> list[str]:
    """Say why it is this one, and what would not help."""
    return [
        *_verdict(tuning),
        *_library(tuning),
        *_precision(tuning),
        *_lanes(tuning),
        *_batching(tuning),
        *_lingering(tuning),
        *_limit(tuning),
        *_error(tuning),
        *_time(tuning),
        *_others(tuning),
    ]


def _verdict(tuning: Tuning) -> Iterator[str]:
    ranking, chosen = tuning.raced.ranking, tuning.chosen.candidate
    failed = tuning.raced.failed
    if ranking is None and failed:
        yield (
            "Nothing was raced: all that should have been failed, so this is the best forecast. "
            f"{failed[0].what}: {failed[0].why}"
        )
        return
    if ranking is None:
        yield (
            "Nothing was raced: there was no time left, so this is the best forecast. Give it a "
            "longer --budget."
        )
        return
    if tuning.chosen.rate_rps <= 0:
        yield (
            f"No settings that were raced answered anything while {tuning.wanted.objective}"
            ": they are not written down. Give --slo more time than one request takes."
        )
        return
    tied = [one for one in ranking.tied if one != chosen]
    if tied:
        yield (
            f"{' and '.join(map(str, tied))} cannot be told from it: the difference is within "
            f"{_percent(TELLABLE)} or within its interval. {_taken(tuning, tied)}"
        )
    highest = tuning.chosen.highest
    if highest is not None and highest.rate_rps is None:
        yield (
            f"At none of the rates that were tried at the end was {tuning.wanted.objective}: told "
            "is what was in time of more than it holds. Tune when the machine is quiet."
        )
    if tuning.chosen.capped:
        sent = f"{tuning.raced.ceiling_rps:,.4g} requests/s"
        yield f"It held all that was sent, {sent}: {_ceiling(tuning)}"
    elif tuning.wanted.rate_rps is not None and _held(tuning.chosen) < tuning.wanted.rate_rps:
        yield (
            f"None of what was raced holds the {tuning.wanted.rate_rps:,.6g} requests/s of --rate: "
            f"this does {_held(tuning.chosen):,.4g}."
        )


def _taken(tuning: Tuning, tied: Sequence[Candidate]) -> str:
    """Which of what is alike."""
    if tuning.chosen.candidate == tuning.untuned.candidate:
        return "The untuned one is taken."
    others = [_likely(row) for row in tuning.rows if row.candidate in tied]
    if max(others) < FAR * _likely(tuning.chosen):
        return "By race and forecast together it does more, and is taken."
    return "The cheapest that does as much by race and forecast together is taken."


def _likely(row: Row) -> float:
    """What a row that was raced does, by race and forecast together."""
    raced_rps = 0.0 if row.raced_rps is None else row.raced_rps.mean
    return likely_worth(raced_rps, row.forecast.rate_rps)


def _held(row: Row) -> float:
    highest_rps = None if row.highest is None else row.highest.rate_rps
    return max(row.rate_rps, highest_rps or 0.0)


def _ceiling(tuning: Tuning) -> str:
    wanted_rps = tuning.wanted.rate_rps
    if wanted_rps is not None and tuning.raced.ceiling_rps >= wanted_rps:
        return "more is not wanted."
    told = "more cannot be sent in time from the same cores, so that what does is not ranked"
    if wanted_rps is None:
        return f"{told}."
    return f"{told}, and whether anything holds the {wanted_rps:,.6g} of --rate was not seen."


def _by_variant(tuning: Tuning) -> Mapping[Variant, Measured]:
    return {one.variant: one for one in tuning.measured}


def _library(tuning: Tuning) -> Iterator[str]:
    """How far libraries are apart at one row, on as many threads and in f32."""
    known = _by_variant(tuning)
    mine = tuning.chosen.candidate.variant
    here = known.get(Variant(mine.backend, Precision.F32, mine.threads))
    if here is None:
        return
    for one in tuning.measured:
        other = one.variant
        same = (other.precision, other.threads) == (Precision.F32, mine.threads)
        if same and other.backend is not mine.backend:
            yield (
                f"In f32 a row takes {other.backend.value} {_ms(one.run_s(1))} and "
                f"{mine.backend.value} {_ms(here.run_s(1))}."
            )


def _precision(tuning: Tuning) -> Iterator[str]:
    known = _by_variant(tuning)
    for one in tuning.measured:
        variant = one.variant
        plain = known.get(Variant(variant.backend, Precision.F32, variant.threads))
        if variant.precision is Precision.F32 or plain is None:
            continue
        if variant.threads != tuning.chosen.candidate.threads:
            continue
        rows = max(set(one.sizes) & set(plain.sizes))
        times = plain.run_s(rows) / one.run_s(rows)
        but = f", {count(variant.f32_layers, 'layer')} in f32," if variant.f32_layers else ""
        yield (
            f"{variant.backend.value} in {variant.precision.value}{but} runs "
            f"{count(rows, 'row')} {times:.2f} times as fast as in f32."
        )


def _lanes(tuning: Tuning) -> Iterator[str]:
    """The best of each split of the cores, beside the chosen one."""
    mine = tuning.chosen.candidate
    here = tuning.chosen.forecast.rate_rps
    seen = {(mine.instances, mine.threads)}
    for row in sorted(tuning.rows, key=lambda row: -row.forecast.rate_rps):
        other = row.candidate
        split = (other.instances, other.threads)
        same = other.variant.arithmetic == mine.variant.arithmetic
        if not same or split in seen or not row.forecast.rate_rps:
            continue
        seen.add(split)
        times = here / row.forecast.rate_rps
        much = "as much" if abs(times - 1) <= _ALIKE else f"{times:.2f} times as much"
        yield f"{_split(mine)} {_do(mine)} {much} in time as {_split(other)} (forecast)."
    measured = _by_variant(tuning).get(mine.variant)
    if measured is not None and mine.instances > 1:
        speed = measured.speed(mine.instances)
        if speed < 1 - _ALIKE:
            yield (
                f"{mine.instances} instances that run at once are each {speed:.2f} times as fast "
                "as one alone: they share memory, caches or cores."
            )


def _split(one: Candidate) -> str:
    return f"{count(one.instances, 'instance')} of {count(one.threads, 'thread')}"


def _do(one: Candidate) -> str:
    return "does" if one.instances == 1 else "do"


def _batching(tuning: Tuning) -> Iterator[str]:
    measured = _by_variant(tuning).get(tuning.chosen.candidate.variant)
    if measured is None:
        return
    knee = measured.knee
    larger = [rows for rows in measured.sizes if rows > knee]
    if larger:
        rows = larger[0]
        times = measured.run_s(rows) / measured.run_s(knee)
        yield (
            f"Batches stop paying at {count(knee, 'row')}: a run of {rows} takes {times:.2f} times "
            f"one of {knee}."
        )
    elif knee > 1:
        yield (
            f"Batches pay up to {count(knee, 'row')}, the largest that was tried: a row costs "
            f"{_ms(measured.run_s(knee) / knee)} there and {_ms(measured.run_s(1))} alone."
        )


def _lingering(tuning: Tuning) -> Iterator[str]:
    """Whether batches that wait for more rows would do more."""
    mine, found = tuning.chosen.candidate, tuning.chosen.forecast
    alike = [
        row.forecast
        for row in tuning.rows
        if (row.candidate.variant, row.candidate.instances) == (mine.variant, mine.instances)
    ]
    waits = [one for one in alike if one.candidate.linger_ms]
    at_once = [one for one in alike if not one.candidate.linger_ms]
    if waits and at_once:
        best = max(waits, key=lambda one: one.rate_rps)
        times = best.rate_rps / max(one.rate_rps for one in at_once)
        pays = "does" if mine.linger_ms else "would do"
        yield (
            f"To let batches wait {best.candidate.linger_ms:g} ms for more rows {pays} "
            f"{times:.2f} times as much in time (forecast)."
        )
    elif at_once and found.rate_rps:
        row = _by_variant(tuning)[mine.variant]
        here = machine(row, mine, Setting(tuning.wanted.objective, tuning.cores))
        why_not = lingers(here, found.used, tuning.wanted.objective.slo_s).why_not
        if why_not:
            yield f"To let batches wait for more rows cannot pay: {why_not}."


def _limit(tuning: Tuning) -> Iterator[str]:
    found = tuning.chosen.forecast
    slo_s = tuning.wanted.objective.slo_s
    if not found.rate_rps:
        yield f"No rate is inside the objective of {_ms(slo_s)}: give it a longer one."
    elif found.front_busy >= FRONT_BUSY:
        busy = _percent(found.front_busy)
        yield (
            f"What limits is the receiver, whose thread would be busy {busy} of the time, and not "
            f"the model. {_receivers(tuning)}"
        )
    elif found.used < _NEAR:
        yield (
            f"What limits is the objective: without one its lanes could do "
            f"{found.bound_rps:,.4g} requests/s."
        )
    else:
        yield "What limits is the model: its lanes would be busy nearly all of the time."


_NEAR = 0.85


def _receivers(tuning: Tuning) -> str:
    """Whether more of them would help: each wants a core of its own, beside those of the lanes."""
    shared = tuning.raced.shared
    if shared is not None:
        does = (
            f"{statistics.fmean(shared.shared_rps):,.4g} answers/s in time, raced beside "
            f"{statistics.fmean(shared.alone_rps):,.4g} with one"
        )
        if shared.pays:
            return f"`server.receivers: {shared.count}` does more: {does}."
        return f"`server.receivers: {shared.count}` does no more: {does}."
    chosen, found = tuning.chosen.candidate, tuning.chosen.forecast
    if tuning.cores - chosen.cores < 1:
        return (
            f"Another (`server.receivers`) would want a core of its own, and the lanes have all "
            f"{tuning.cores}."
        )
    here = machine(
        _by_variant(tuning)[chosen.variant], chosen, Setting(tuning.wanted.objective, tuning.cores)
    )
    number = worth_trying(here, found)
    return (
        f"`server.receivers: {number}` would share its work, on cores that the lanes leave (by the "
        f"forecast, not raced{_why_not_raced(tuning, number)})."
    )


def _why_not_raced(tuning: Tuning, number: int) -> str:
    if tuning.raced.ranking is None:
        return ""
    if tuning.chosen.capped:
        return ": one held all that was sent"
    if any(one.what == count(number, "receiver") for one in tuning.left_out):
        return ": they did not serve"
    return ": there was no time left"


def _error(tuning: Tuning) -> Iterator[str]:
    errors = [abs(row.forecast_error) for row in tuning.rows if row.forecast_error is not None]
    error = tuning.chosen.forecast_error
    if error is not None:
        yield (
            f"Forecast {tuning.chosen.forecast.rate_rps:,.4g} answers/s in time, raced "
            f"{tuning.chosen.rate_rps:,.4g}: {100 * error:+.0f} %; of all that were raced "
            f"{_percent(statistics.median(errors))} in the middle."
        )


def _time(tuning: Tuning) -> Iterator[str]:
    parts = []
    if tuning.rounds < _ROUNDS:
        parts.append(f"{count(tuning.rounds, 'round')} of {_ROUNDS} in the labs")
    if tuning.raced.cut_short and tuning.raced.ranking is not None:
        done = len(tuning.raced.rungs)
        parts.append(f"{count(done, 'rung')} of the race" if done else "a part of the first rung")
    if parts:
        yield f"There was time for {' and '.join(parts)} only: --budget gives more."


_ROUNDS = 3


def _others(tuning: Tuning) -> Iterator[str]:
    if max(tuning.others, default=0.0) > _DISTURBED * tuning.cores:
        yield (
            f"Others used {' and '.join(f'{cores:.1f}' for cores in tuning.others)} of "
            f"{count(tuning.cores, 'core')} before and after: this is of a machine that is shared. "
            "Tune when it is quiet."
        )


# So much is always in use; more is seen in run times.
_DISTURBED = 0.1


def _ms(seconds: float) -> str:
    return f"{seconds * _MS:.3g} ms"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
