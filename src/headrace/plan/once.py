"""One plan from end to end: the profile, the question, the plan, and real loads beside it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console

from headrace.errors import HeadraceError, OperatorError, SettingsError
from headrace.load.command import written
from headrace.models.ask import DEFAULT_URL, ServerModels
from headrace.plan.compare import Beside
from headrace.plan.document import document
from headrace.plan.laws import peak_rate
from headrace.plan.make import Plan, find_limit, machine_of, make_plan
from headrace.plan.measure import Measuring
from headrace.plan.page import page_of
from headrace.plan.profile import ModelProfile, read_answer, read_file, save, with_calibration
from headrace.plan.question import LOADS, SEEDS, Kind, Question
from headrace.plan.rig import Rig
from headrace.plan.show import show
from headrace.plan.target import Requests, make_sent
from headrace.scheduler.simulate import undisturbed

_FAILED_STATUS, _OPERATOR_STATUS = 1, 2
_MS = 1e3

Say = Callable[[str], None]


def run_once(options: argparse.Namespace) -> int:
    """Do what the flags say, and return the exit status.

    Raises:
        OperatorError: there is something to change.
    """
    told = Console(stderr=True)
    try:
        _check(options)
        with _progress(told, quiet=options.json) as say:
            plan, beside = _measured(options, say) if options.measure else _planned(options, say)
            found = document(plan, beside)
            if options.report is not None:
                say("drawing")
            unwritten = written.try_write(options.report, lambda: page_of(plan, beside, found))
    except HeadraceError as error:
        return _refused(error, told, as_json=options.json)
    if options.json:
        wrong = None if unwritten is None else unwritten.message
        sys.stdout.write(json.dumps({"ok": True, **found, "report_error": wrong}) + "\n")
    else:
        show(plan, beside, Console())
        if unwritten is not None:
            raise unwritten
    if unwritten is not None:
        return _OPERATOR_STATUS
    return _FAILED_STATUS if beside.off else 0


def _planned(options: argparse.Namespace, say: Say) -> tuple[Plan, Beside]:
    """Plan without a load."""
    profile = _profile(options)
    if options.save is not None:
        save(profile, options.save)
    question = _question(options, profile)
    scaling = options.scaling
    speed = undisturbed if scaling is None else scaling.speed
    machine = machine_of(profile, question, speed=speed)
    return make_plan(profile, question, machine, scaling, say), Beside()


def _measured(options: argparse.Namespace, say: Say) -> tuple[Plan, Beside]:
    """Calibrate, plan, and drive the loads of the plan."""
    url, profile = options.url or DEFAULT_URL, _profile(options)
    server = ServerModels(url)
    _check_reached(server, profile)
    shapes = tuple(options.shape)
    requests = Requests(options.protocol, options.rows, options.data, shapes)
    sent = make_sent(url, profile.name, requests)
    question = _question(options, profile)
    if options.elements is None and sent.elements is not None:
        question = replace(question, elements=sent.elements)
    rig = Rig(server, url, profile, sent.target, say)
    quiet = rig.others()
    guessed = machine_of(profile.model_copy(update={"calibration": None}), question)
    measuring = Measuring(rig, guessed, question)
    profile = with_calibration(profile, measuring.look())
    if options.save is not None:  # if it can't be, that is told before minutes of load
        save(profile, options.save)

    def limit_rps() -> float:
        found = with_calibration(profile, measuring.calibration())
        return find_limit(machine_of(found, question), question).mean

    say("the highest rate inside the objective, as it looks at first")
    measuring.go_round(limit_rps)
    profile = with_calibration(profile, measuring.calibration())
    if options.save is not None:
        save(profile, options.save)
    machine = machine_of(profile, question)
    plan = make_plan(profile, question, machine, progress=say)
    loads = tuple(measuring.compared(machine, plan.limit.mean))
    return plan, Beside(loads, quiet + rig.others(), profile.cores)


def _check(options: argparse.Namespace) -> None:
    """See that the flags go together, and that a report can be made."""
    written.check(options.report)
    if options.rate is not None and options.per_day is not None:
        raise SettingsError("--rate or --per-day, not both")
    if options.profile is not None and (options.url is not None or options.model is not None):
        raise SettingsError("--profile needs no server: leave URL and --model out")
    if not options.measure:
        return
    for name in ("profile", "slo_ms", "instances", "scaling"):
        if getattr(options, name) is not None:
            raise SettingsError(
                f"--measure drives the server as it is: leave --{name.replace('_', '-')} out"
            )


def _check_reached(server: ServerModels, profile: ModelProfile) -> None:
    """See that real requests, which name no version, go to the one that is planned."""
    reached = server.profile(profile.name)["version"]
    if reached != profile.version:
        raise SettingsError(
            f"--measure sends requests that name no version, which go to version {reached} of "
            f"{profile.name!r}: leave --model-version out, or serve version {profile.version} alone"
        )


@contextmanager
def _progress(told: Console, *, quiet: bool) -> Iterator[Say]:
    """Show on a terminal what is being done."""
    if quiet or not told.is_terminal:
        yield lambda _: None
        return
    with told.status("planning") as status:
        yield lambda text: status.update(f"planning: {text}")


def _refused(error: HeadraceError, told: Console, *, as_json: bool) -> int:
    """Say what is wrong where it was asked for.

    Raises:
        OperatorError: it is the caller's to tell.
    """
    if as_json:
        said = {"ok": False, "code": error.code, "error": error.message}
        sys.stdout.write(json.dumps(said) + "\n")
    elif isinstance(error, OperatorError):
        raise error
    else:
        text = f"headrace: {error.message}"
        told.print(text, markup=False, highlight=False, soft_wrap=True)
    return _OPERATOR_STATUS if isinstance(error, OperatorError) else _FAILED_STATUS


def _profile(options: argparse.Namespace) -> ModelProfile:
    """Read the profile of a file, or ask the server."""
    if options.profile is not None:
        return read_file(options.profile)
    url = options.url or DEFAULT_URL
    server = ServerModels(url)
    model = options.model or _only(server, url)
    return read_answer(server.profile(model, options.model_version), url)


def _only(server: ServerModels, url: str) -> str:
    names = sorted({one["name"] for one in server.index() if one["state"] == "serving"})
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise SettingsError(f"say which model of {url} with --model; it serves: {found}")
    return str(names[0])


def _question(options: argparse.Namespace, profile: ModelProfile) -> Question:
    """Put the flags together with what the profile says."""
    rate_rps = options.rate if options.per_day is None else peak_rate(options.per_day)
    slo_ms = options.slo_ms if options.slo_ms is not None else profile.slo_ms
    largest = max(profile.batch_sizes)
    if options.rows > largest:
        raise SettingsError(f"--rows: batches of this model have at most {largest} rows")
    try:
        return Question(
            instances=profile.instances if options.instances is None else options.instances,
            slo_s=None if slo_ms is None else slo_ms / _MS,
            elements=profile.shapes[-1] if options.elements is None else options.elements,
            rows=options.rows,
            kind=Kind(options.arrivals),
            loads=options.loads or LOADS,
            rate_rps=rate_rps,
            seeds=SEEDS if options.seeds is None else options.seeds,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error
