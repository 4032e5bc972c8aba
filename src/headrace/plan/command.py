"""The command ``headrace plan``: its grammar, and what it does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError, OperatorError, SettingsError
from headrace.models.ask import DEFAULT_URL, ServerModels

if TYPE_CHECKING:
    from headrace.plan.profile import ModelProfile
    from headrace.plan.question import Question
    from headrace.plan.scaling import Scaling

_FAILED_STATUS = 1
_MS = 1e3
_PERCENT = 100.0


def add(command: argparse.ArgumentParser) -> None:
    """Add the flags."""
    source = command.add_argument_group("what to plan for")
    source.add_argument(
        "url", nargs="?", metavar="URL", help=f"a server that runs (default: {DEFAULT_URL})"
    )
    source.add_argument("--model", help="which of its models; not needed where there is one")
    source.add_argument("--model-version", type=int, metavar="N", help="default: the newest")
    source.add_argument("--profile", type=Path, metavar="FILE", help="a file of --save, no server")
    source.add_argument("--save", type=Path, metavar="FILE", help="keep what the server measured")
    asked = command.add_argument_group("what to ask")
    asked.add_argument("--rate", type=float, metavar="R", help="requests/s to serve: what it needs")
    asked.add_argument(
        "--per-day",
        type=float,
        metavar="N",
        help="the same, as 80 %% of N requests in 20 %% of a day",
    )
    asked.add_argument("--slo-ms", type=float, metavar="MS", help="another objective")
    asked.add_argument("--instances", type=int, metavar="N", help="another number of instances")
    asked.add_argument(
        "--rows", type=int, default=1, metavar="N", help="rows a request (default 1)"
    )
    asked.add_argument(
        "--elements",
        type=int,
        metavar="N",
        help="input elements a row, of a model with several shapes (default: the largest measured)",
    )
    asked.add_argument(
        "--arrivals",
        choices=["poisson", "bursts"],
        default="poisson",
        help="bursts: four times the rate for a fifth of the time",
    )
    asked.add_argument(
        "--loads",
        type=_loads,
        metavar="PERCENT,...",
        help="shares of the limit to show (default 30,60,80,95)",
    )
    asked.add_argument("--seeds", type=int, metavar="N", help="plays of each load (default 5)")
    asked.add_argument(
        "--scaling",
        type=_scaling,
        metavar="N:RATE,...",
        help="what some numbers of instances do together, as 1:410,2:760,4:1200: what they cost "
        "each other",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _loads(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) / _PERCENT for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} should be as 30,60,80,95") from error


def _scaling(text: str) -> Scaling:
    from headrace.plan.scaling import fit  # noqa: PLC0415 - --help need not wait for it

    try:
        pairs = [part.split(":") for part in text.split(",")]
        points = [(int(count), float(rate)) for count, rate in pairs]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} should be as 1:410,2:760,4:1200") from error
    try:
        return fit(points)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def run(options: argparse.Namespace) -> int:
    """Say what a model can do within its objective, from what its server has measured.

    The server's own scheduler is played against made-up requests; nothing is sent to the server but
    the question what it measured. Exit status 1: the server cannot be asked.
    """
    from rich.console import Console  # noqa: PLC0415 - --help need not wait for it

    from headrace.plan.document import document  # noqa: PLC0415 - the same
    from headrace.plan.make import machine_of, make_plan  # noqa: PLC0415 - the same
    from headrace.plan.profile import save  # noqa: PLC0415 - the same
    from headrace.plan.show import show  # noqa: PLC0415 - the same
    from headrace.scheduler.simulate import undisturbed  # noqa: PLC0415 - the same

    told = Console(stderr=True)
    try:
        profile = _profile(options)
        if options.save is not None:
            save(profile, options.save)
        question = _question(options, profile)
        scaling = options.scaling
        speed = undisturbed if scaling is None else scaling.speed
        machine = machine_of(profile, question, speed=speed)
        quiet = options.json or not told.is_terminal
        with nullcontext() if quiet else told.status("planning") as status:
            progress: Callable[[str], None] = lambda text: (  # noqa: E731
                None if status is None else status.update(f"planning: {text}")
            )
            plan = make_plan(profile, question, machine, scaling, progress)
    except OperatorError:
        raise
    except HeadraceError as error:
        return _refused(error, told, as_json=options.json)
    if options.json:
        print(json.dumps({"ok": True, **document(plan)}))
    else:
        show(plan, Console())
    return 0


def _refused(error: HeadraceError, console: Any, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"ok": False, "code": error.code, "error": error.message}))
    else:
        text = f"headrace: {error.message}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return _FAILED_STATUS


def _profile(options: argparse.Namespace) -> ModelProfile:
    """Read the profile of a file, or ask the server."""
    from headrace.plan.profile import read_answer, read_file  # noqa: PLC0415 - as above

    if options.profile is not None:
        if options.url is not None or options.model is not None:
            raise SettingsError("--profile needs no server: leave URL and --model out")
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
    from headrace.plan.laws import peak_rate  # noqa: PLC0415 - as above
    from headrace.plan.question import LOADS, SEEDS, Kind, Question  # noqa: PLC0415 - as above

    if options.rate is not None and options.per_day is not None:
        raise SettingsError("--rate or --per-day, not both")
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
