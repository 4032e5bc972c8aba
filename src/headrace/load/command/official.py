"""A scenario that MLCommons' LoadGen drives."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from headrace.errors import HeadraceError, SettingsError
from headrace.load import loadgen
from headrace.load.command.drive import Screen, drive, screen
from headrace.load.command.once import FAILED_STATUS, tell
from headrace.load.command.prepare import prepare
from headrace.load.command.wanted import Wanted, read
from headrace.load.plan import ClosedLoop, Target
from headrace.load.report import Report
from headrace.load.scenario import SHORTEST_S, Scenario
from headrace.load.verdict import judge

_PROBE_S = 2.0
# So many queries may wait for an answer; more are not sent.
_MOST = 8192


def run_official(options: argparse.Namespace) -> int:
    """Do what the flags say, and return the exit status."""
    try:
        wanted = read(options)
        if wanted.scenario is None or options.report is not None:
            raise SettingsError("--loadgen needs a --scenario, and writes no --report")
        loadgen.library()
        with screen(Console(stderr=True)) as shown:
            summary = _load(wanted, wanted.scenario, shown)
    except KeyboardInterrupt:
        _end_at_once(128 + signal.SIGINT)  # as the command line ends after it
    except SystemExit as end:  # of SIGTERM
        _end_at_once(end.code if isinstance(end.code, int) else FAILED_STATUS)
    except HeadraceError as error:
        return tell(error, as_json=options.json)
    if options.json:
        sys.stdout.write(json.dumps(_document(wanted, summary), indent=2) + "\n")
    else:
        _show(wanted, summary, Console())
    return FAILED_STATUS if summary.failed else 0


def _end_at_once(status: int) -> NoReturn:
    """End the process: LoadGen cannot be stopped, and Python cannot end beside it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _load(wanted: Wanted, scenario: Scenario, shown: Screen) -> loadgen.Summary:
    target = prepare(wanted)
    shown.heading = "LoadGen"
    # After Ctrl-C it still writes there while the folder goes.
    with TemporaryDirectory(prefix="headrace-loadgen-", ignore_cleanup_errors=True) as folder:
        order = _order(wanted, scenario, target, shown)
        return loadgen.drive(
            order, target, Path(folder), lambda count: shown.show(f"{count:,} answered")
        )


def _order(wanted: Wanted, scenario: Scenario, target: Target, shown: Screen) -> loadgen.Order:
    """What LoadGen wants to know before: about how fast the server is."""
    callers = wanted.concurrency or 1
    result, interrupted = drive(ClosedLoop(callers, _PROBE_S), target, 1, shown)
    if interrupted:
        raise KeyboardInterrupt
    report = judge(result).report
    if report is None or report.latency is None:
        raise SettingsError("not one request was answered when the server was tried")
    return loadgen.Order(
        scenario=scenario,
        duration_s=wanted.duration_s or SHORTEST_S,
        rate=wanted.rate or _expected(report, scenario),
        slo_s=wanted.slo_s or 1.0,
        latency_s=report.latency.p50_s / 2,  # it prepares as many queries as would fit
        most=_MOST if scenario.callers is None else callers,
    )


def _expected(report: Report, scenario: Scenario) -> float:
    """Samples a second: half as many again, for with too few LoadGen ends too early."""
    return max(1.5 * report.per_s * scenario.rows, 1.0)


def _document(wanted: Wanted, summary: loadgen.Summary) -> dict[str, Any]:
    return {
        "ok": not summary.failed,
        "failure": f"{summary.failed:,} queries were not answered" if summary.failed else None,
        "server": wanted.address.authority + wanted.address.prefix,
        "model": wanted.model,
        "protocol": wanted.protocol,
        "loadgen": {
            "valid": summary.is_valid,
            "faults": summary.faults,
            "summary": summary.lines,
        },
    }


def _show(wanted: Wanted, summary: loadgen.Summary, console: Console) -> None:
    console.print(Text(f"{wanted.where}, {wanted.protocol}, LoadGen", "italic"), soft_wrap=True)
    console.print(Text(summary.text.rstrip()), soft_wrap=True)
    if summary.faults:
        words = f"not valid by MLPerf's rules: {'; '.join(summary.faults)}"
        console.print(Text(words, "bold"), soft_wrap=True)
    if summary.failed:
        words = f"not ok: {summary.failed:,} queries were not answered"
        console.print(Text(words, "bold red"), soft_wrap=True)
