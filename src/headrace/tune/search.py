"""The way of a tuning: measure every variant, judge its answers, forecast, race, and choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from headrace import tuned
from headrace.engine.backends import comparable
from headrace.load.data import write_numpy
from headrace.plan.others import cores_in_use
from headrace.tune.answers import some
from headrace.tune.contestant import Entry
from headrace.tune.data import Samples, stamps
from headrace.tune.forecast import Forecast, Setting, best_of_each, forecasts, machine
from headrace.tune.job import Job, room_bytes
from headrace.tune.journal import Journal, place_of
from headrace.tune.labs import Found, look
from headrace.tune.measured import Measured
from headrace.tune.model import Model
from headrace.tune.race import Race
from headrace.tune.raced import Raced
from headrace.tune.receivers import worth_trying
from headrace.tune.result import Row, Tuning, in_order, make_rows
from headrace.tune.space import Candidate, Space, make_space, together
from headrace.tune.wanted import Wanted

ENTRANTS = 8
"""So many enter the race, besides the untuned one."""

# Forecasts that are made whatever the time, and those that are told at once.
_LEAST, _TOLD = 8, 3
# They share the cores with what they measure.
_CORES_A_SENDER = 4
# What a server has in memory besides its model (seen: 180 MiB), and how much of it all may take.
_SERVER_BYTES, _MEMORY_SHARE = 200 * 2**20, 0.8
# So many different rows are sent, and fewer where they are large: every slice writes all of them
# down for a sender of its own, which must not take longer than the slice.
_SENT_ROWS, _SENT_BYTES = 64, 64 * 2**20


def search(job: Job) -> Tuning:
    """Tune a model; its journal is open.

    Raises:
        HeadraceError: no backend runs it, or there is something to change.
    """
    model = job.model
    job.progress.step("looking whether others use this machine")
    before = _others()
    space = make_space(
        comparable(model.path),
        tuned.fingerprint().features,
        model.cores,
        keeps=model.cache_dir is not None and model.settings.cache,
        f32_layers=model.settings.f32_layers,
    )
    found = look(space, job)
    forecast = _forecast(found, job)
    raced = _race(forecast, found, job)
    tuning = _sum_up(space, found, forecast, raced, job)
    return replace(tuning, others=before + _others())


def journal_of(model: Model, wanted: Wanted, data: Path | None, *, fresh: bool) -> Journal:
    """The journal of such tunings; a ``fresh`` one has nothing in it.

    Raises:
        SettingsError: there is nothing in ``data``.
    """
    place = _place(model, wanted, data)
    if fresh and place is not None:
        with suppress(OSError):  # where nothing can be, nothing is
            place.unlink(missing_ok=True)
    return Journal(place)


def _others() -> tuple[float, ...]:
    """The cores that are in use now, of which none is by us; () where that is not known."""
    used = cores_in_use()
    return () if used is None else (used,)


def _place(model: Model, wanted: Wanted, data: Path | None) -> Path | None:
    """Where the journal is of tunings that have all alike that this one depends on."""
    if model.cache_dir is None:
        return None
    machine = tuned.fingerprint()
    return place_of(
        model.cache_dir,
        version("headrace"),
        tuned.digest(model.path),
        machine.model_dump(mode="json", exclude={"memory_bytes"}),
        model.settings.model_dump(mode="json", exclude={"path", "labels"}),
        model.found.labels,  # and not where they lie
        str(wanted.objective),
        wanted.max_drop,
        None if data is None else (str(data.absolute()), stamps(data)),
    )


def _forecast(found: Found, job: Job) -> list[Forecast]:
    """Forecast candidates until the time is over; the untuned one is the first."""
    model = job.model
    setting = Setting(job.wanted.objective, model.cores, model.settings.max_queue, model.linger_ms)
    made: list[Forecast] = []
    for one in forecasts(found.measured, setting, ENTRANTS, (found.untuned,)):
        job.progress.step(f"forecast of {one.candidate}: {one.rate_rps:,.4g}/s")
        made.append(one)
        if len(made) > _LEAST and not job.progress.may_forecast():
            break
    for one in sorted(made, key=lambda one: -one.rate_rps)[:_TOLD]:
        job.progress.tell(f"forecast: {one.candidate}: {one.rate_rps:,.4g} answers/s in time")
    return made


def _race(forecast: Sequence[Forecast], found: Found, job: Job) -> Raced:
    """Race the best of each way."""
    baseline, *others = forecast
    worth = {one.candidate: job.wanted.worth(one.rate_rps) for one in forecast}
    best = worth_racing(others, worth, found.untuned)
    entrants = fitting(best[:ENTRANTS], found.measured, room_bytes(_MEMORY_SHARE))
    with TemporaryDirectory(prefix="headrace-tune-") as folder:
        entry = _entry(found, job, Path(folder))
        receivers = _receivers(forecast, found, job)
        race = Race(entrants, baseline, entry, job.wanted, receivers)
        return race.run(job.journal, job.progress)


def _receivers(forecast: Sequence[Forecast], found: Found, job: Job) -> dict[Candidate, int]:
    """How many receivers each is worth trying with."""
    measured = {one.variant: one for one in found.measured}
    setting = Setting(job.wanted.objective, job.model.cores)
    return {
        one.candidate: worth_trying(
            machine(measured[one.candidate.variant], one.candidate, setting), one
        )
        for one in forecast
    }


def worth_racing(
    others: Sequence[Forecast], worth: Mapping[Candidate, float], untuned: Candidate
) -> list[Forecast]:
    """The best of each way; not those that are as the untuned one is.

    That is who differs in no more than the cap, which the scheduler lowers by itself: but for
    batches of one, which is more than it does.
    """

    def is_alike(one: Candidate) -> bool:
        return one.max_batch > 1 and replace(one, max_batch=untuned.max_batch) == untuned

    best = best_of_each(others, worth)
    return [one for one in best if one.rate_rps > 0 and not is_alike(one.candidate)]


def fitting(
    entrants: Sequence[Forecast], measured: Sequence[Measured], room: float
) -> list[Forecast]:
    """The best of them whose servers have room in memory at once, beside the untuned one."""
    size_bytes = {one.variant: one.memory_bytes + _SERVER_BYTES for one in measured}
    room -= max(size_bytes.values())
    found: list[Forecast] = []
    for one in entrants:
        room -= size_bytes[one.candidate.variant]
        if room < 0:
            break
        found.append(one)
    return found


def _entry(found: Found, job: Job, folder: Path) -> Entry:
    """What is sent in the race: rows of the samples where they are real ones, else made up."""
    model, objective = job.model, job.wanted.objective
    signature, inputs = found.loaded.signature.unwrap(), sent(found.samples).inputs
    entry = Entry(
        model.named,
        model.name,
        objective,
        (),
        senders=max(model.cores // _CORES_A_SENDER, 1),
        wanted_rps=job.wanted.rate_rps,
        version=model.found.version,
    )
    plain = not any(array.dtype.hasobject for array in inputs.values())
    if job.data is not None and plain and signature.batched:
        path = folder / "samples.npz"
        write_numpy(path, inputs)
        return replace(entry, data=path)
    first = ("1",) if signature.batched else ()
    shapes = tuple(
        f"{name}={','.join((*first, *map(str, sizes)))}"
        for name, sizes in (found.loaded.shape or {}).items()
    )
    return replace(entry, shapes=shapes)


def sent(samples: Samples) -> Samples:
    """Those that are sent in the race: enough different ones, from everywhere."""
    size_bytes = sum(array.nbytes for array in samples.inputs.values())
    rows = _SENT_BYTES * len(samples) // max(size_bytes, 1)
    return some(samples, max(min(rows, _SENT_ROWS), 1))


def _sum_up(
    space: Space, found: Found, forecast: Sequence[Forecast], raced: Raced, job: Job
) -> Tuning:
    known = {one.variant: one for one in found.measured}
    rows = make_rows(forecast, raced, known, found.gated.accuracy)
    chosen = _best(rows, job.wanted) if raced.ranking is None else raced.ranking.winner
    by_candidate = {row.candidate: row for row in rows}
    return Tuning(
        job.model.name,
        job.wanted,
        job.model.cores,
        tuple(in_order(rows, chosen)),
        by_candidate[chosen],
        by_candidate[found.untuned],
        tuple(found.measured),
        raced,
        together((*space.left_out, *found.profiled.failed, *found.gated.failed, *raced.failed)),
        found.profiled.rounds,
        found.gated.origin,
        job.progress.spent_s(),
        job.journal.found,
    )


def _best(rows: Sequence[Row], wanted: Wanted) -> Candidate:
    """The best forecast, where nothing was raced."""
    best = max(rows, key=lambda row: (wanted.worth(row.forecast.rate_rps), -row.candidate.cores))
    return best.candidate
