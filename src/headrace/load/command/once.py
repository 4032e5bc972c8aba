"""One load from end to end: prepare, run, sum up, tell."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

from headrace.errors import HeadraceError, OperatorError, SettingsError
from headrace.load.command import show, written
from headrace.load.command.drive import Hurried, drive, screen
from headrace.load.command.ends import status_of
from headrace.load.command.prepare import prepare
from headrace.load.command.wanted import Wanted, read
from headrace.load.verdict import Verdict, judge

FAILED_STATUS, _OPERATOR_STATUS = 1, 2


def run_once(options: argparse.Namespace) -> int:
    """Do what the flags say, and return the exit status."""
    try:
        wanted = read(options)
        written.check(options.report)
        verdict = load(wanted)
    except Hurried:
        tell_interrupted("the last answers were not waited for", as_json=options.json)
        return status_of(signal.SIGINT)
    except KeyboardInterrupt:
        return tell_interrupted("nothing was measured yet", as_json=options.json)
    except HeadraceError as error:
        return tell(error, as_json=options.json)
    document = show.document(wanted, verdict)
    unwritten = written.try_write(options.report, lambda: written.of_one(wanted, verdict, document))
    return tell_all(
        document,
        lambda console: show.show(wanted, verdict, console),
        unwritten,
        as_json=options.json,
    )


def load(wanted: Wanted) -> Verdict:
    """Load a server, and judge what came of it.

    Raises:
        OperatorError: the server is not there, or does not take what it would be sent.
    """
    plan = wanted.plan()
    warm_s = wanted.warm_s(plan.duration_s)
    with screen(Console(stderr=True)) as shown:
        shown.show(f"asking {wanted.address.authority} about {wanted.model}")
        target = prepare(wanted)
        result, interrupted = drive(plan, target, wanted.senders, shown)
    return judge(
        result,
        slo_s=wanted.slo_s,
        warm_s=warm_s,
        lag_limit_s=wanted.lag_limit_s,
        interrupted=interrupted,
        rows=target.rows,
    )


def tell_all(
    document: dict[str, Any],
    show_it: Callable[[Console], None],
    unwritten: SettingsError | None,
    *,
    as_json: bool,
) -> int:
    """Tell what was measured, and then what of it could not be written; return the exit status.

    Raises:
        SettingsError: the report could not be written, and that is the caller's to tell.
    """
    if as_json:
        wrong = None if unwritten is None else unwritten.message
        sys.stdout.write(json.dumps(document | {"report_error": wrong}, indent=2) + "\n")
    else:
        show_it(Console())
        if unwritten is not None:
            raise unwritten
    if unwritten is not None:
        return _OPERATOR_STATUS
    return 0 if document["failure"] is None else FAILED_STATUS


def tell_interrupted(what: str, *, as_json: bool) -> int:
    """Say that Ctrl-C left nothing to tell; return the exit status."""
    text = f"interrupted: {what}"
    if as_json:
        sys.stdout.write(json.dumps({"ok": False, "failure": text}) + "\n")
    else:
        sys.stderr.write(f"headrace: {text}\n")
    return FAILED_STATUS


def tell(error: HeadraceError, *, as_json: bool) -> int:
    """Say what is wrong where it was asked for; return the exit status.

    Raises:
        OperatorError: it is the caller's to tell.
    """
    status = _OPERATOR_STATUS if isinstance(error, OperatorError) else FAILED_STATUS
    if as_json:
        # ``error`` as of every command, ``failure`` as of a load that was begun.
        text = error.message
        said = {"ok": False, "code": error.code, "error": text, "failure": text}
        sys.stdout.write(json.dumps(said) + "\n")
        return status
    if isinstance(error, OperatorError):
        raise error
    sys.stderr.write(f"headrace: {error.message}\n")
    return status
