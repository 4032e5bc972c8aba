"""One tuning from end to end: measured, judged, forecast, raced, told and written down."""

from __future__ import annotations

import argparse
import glob
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from headrace import tuned
from headrace.errors import HeadraceError, OperatorError, SettingsError
from headrace.formats import SUFFIXES
from headrace.load.command import written
from headrace.load.command.drive import screen
from headrace.load.command.ends import end_by_signals
from headrace.tune.budget import Budget
from headrace.tune.card import card_of, not_taken
from headrace.tune.document import document
from headrace.tune.job import Job
from headrace.tune.model import Model, find_model
from headrace.tune.page import page_of
from headrace.tune.progress import Progress
from headrace.tune.result import Tuning
from headrace.tune.search import journal_of, search
from headrace.tune.show import Card, show
from headrace.tune.wanted import Wanted

_FAILED_STATUS, _OPERATOR_STATUS = 1, 2


class Written(NamedTuple):
    """The card, None where there is none; ``failed`` says what could not be written."""

    card: Card | None
    failed: SettingsError | None = None


def run_once(options: argparse.Namespace) -> int:
    """Do what the flags say, and return the exit status.

    Raises:
        OperatorError: there is something to change.
    """
    told = Console(stderr=True, quiet=options.json)
    end_by_signals()  # servers would go on without us
    try:
        tuning, (card, failed) = _tune(options, told)
    except KeyboardInterrupt:
        told.print("interrupted: what was measured is kept, and the same command goes on with it")
        raise
    except HeadraceError as error:
        return _refused(error, as_json=options.json)
    if options.json:
        wrong = {} if failed is None else _in_json(failed)
        where = {
            "ok": card is not None,
            "card": None if card is None else str(card.written),
            "not_taken": [] if card is None else list(card.not_taken),
        }
        sys.stdout.write(json.dumps(where | wrong | document(tuning)) + "\n")
    else:
        show(tuning, card, Console())
        if failed is not None:
            raise failed
    if failed is not None:
        return _OPERATOR_STATUS
    return 0 if card is not None else _FAILED_STATUS


def _tune(options: argparse.Namespace, told: Console) -> tuple[Tuning, Written]:
    """Tune, and write the card and the page.

    Raises:
        HeadraceError: it cannot be done.
    """
    written.check(options.report)
    if options.rate is not None and not 0 < options.rate < math.inf:
        raise SettingsError(f"--rate {options.rate:g}: should be a number of more than 0")
    if options.data is not None and not options.data.exists():
        raise SettingsError(f"--data {options.data}: no such file or folder")
    wanted = Wanted(options.slo, options.max_drop, options.budget, options.rate)
    model = find_model(options.model, wanted.objective.slo_s)
    place = options.output or tuned.place(model.path)
    _check_place(place)
    _check_owner(place, model.path)
    budget = Budget(time.monotonic(), wanted.budget_s)
    journal = journal_of(model, wanted, options.data, fresh=options.fresh)
    with screen(told) as shown, journal:
        progress = Progress(shown, budget, time.monotonic)
        for key, place_of in model.fixed.items():
            progress.tell(
                f"{key} is set ({place_of}) and wins over the tuned card: others are tried, and "
                "are not served while it says so"
            )
        tuning = search(Job(model, wanted, options.data, journal, progress))
        done = write_down(tuning, model, place, options.report, progress)
        # Kept until then: where nothing can be written, another start need not measure again.
        if not tuning.raced.cut_short and done.failed is None:
            journal.forget()
    return tuning, done


def write_down(
    tuning: Tuning, model: Model, place: Path, report: Path | None, progress: Progress
) -> Written:
    """Write the card, and then the page: whatever becomes of a drawing, the card is there."""
    try:
        card = _written(tuning, model, place)
    except SettingsError as error:  # it took minutes, and is told all the same
        return Written(None, error)
    if report is not None:
        progress.step("drawing")
    return Written(card, written.try_write(report, lambda: page_of(tuning, document(tuning))))


def _written(tuning: Tuning, model: Model, place: Path) -> Card | None:
    """Write the tuned card; what nothing has borne out, or answers nothing in time, is none."""
    if tuning.raced.ranking is None or tuning.chosen.rate_rps <= 0:
        return None
    card = card_of(tuning, model)
    tuned.write(place, card)
    return Card(place, tuned.place(model.path), not_taken(card, model), model.fixed)


def _check_place(place: Path) -> None:
    """See that the card can be written, before anything is measured."""
    folder = place.absolute().parent
    try:
        if place.is_dir() or not folder.is_dir():
            raise SettingsError(f"--output {place}: should be a file in a folder that is there")
        # As it is written: the folder may be another's, read-only or full.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{place.name}."):
            pass
    except OSError as error:
        raise SettingsError(
            f"{place}: cannot be written: {error.strerror or error}; say with --output where the "
            "tuned card goes"
        ) from error


def _check_owner(place: Path, path: Path) -> None:
    """See that the card there is not that of another model, called the same but for its suffix."""
    try:
        there = tuned.read(place).model_digest if place.is_file() else None
    except SettingsError:  # nobody takes it
        return
    if there is None or there == tuned.digest(path):
        return
    for other in path.parent.glob(f"{glob.escape(path.stem)}.*"):
        if other != path and other.suffix in SUFFIXES and tuned.digest(other) == there:
            raise SettingsError(
                f"{place}: is the card of {other.name}, and two models cannot have one: rename one "
                "of them, delete the card, or say with --output where this one's goes"
            )


def _refused(error: HeadraceError, *, as_json: bool) -> int:
    """Say what is wrong where it was asked for.

    Raises:
        OperatorError: it is the caller's to tell.
    """
    if as_json:
        sys.stdout.write(json.dumps(_in_json(error)) + "\n")
    elif isinstance(error, OperatorError):
        raise error
    else:
        sys.stderr.write(f"headrace: {error.message}\n")
    return _OPERATOR_STATUS if isinstance(error, OperatorError) else _FAILED_STATUS


def _in_json(error: HeadraceError) -> dict[str, Any]:
    return {"ok": False, "code": error.code, "error": error.message}
