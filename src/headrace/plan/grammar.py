"""The grammar of ``headrace plan``; it imports nothing that takes time, for ``--help``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.load.command.grammar import PROTOCOLS
from headrace.models.ask import DEFAULT_URL
from headrace.plan.question import MOST_LOAD

if TYPE_CHECKING:
    from headrace.plan.scaling import Scaling

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
    _add_questions(command.add_argument_group("what to ask"))
    _add_measuring(command.add_argument_group("real loads"))
    command.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write a page with drawings; needs headrace[report]",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_questions(asked: argparse._ArgumentGroup) -> None:
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


def _add_measuring(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--measure",
        action="store_true",
        help="calibrate with short loads, then drive each load and put what was measured "
        "beside the plan; --save keeps the calibration",
    )
    group.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=PROTOCOLS[0],
        help="how to ask (default: %(default)s)",
    )
    group.add_argument(
        "--data", type=Path, metavar="PATH", help="real requests, as headrace load takes them"
    )
    group.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=SIZES",
        help="the shape of an input, as in ids=1,128; once for each",
    )


def _loads(text: str) -> tuple[float, ...]:
    try:
        loads = tuple(float(part) / _PERCENT for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} should be as 30,60,80,95") from error
    if not all(0 < load <= MOST_LOAD for load in loads):
        raise argparse.ArgumentTypeError(
            f"{text!r} should be percents, each over 0 and at most {MOST_LOAD * _PERCENT:g}"
        )
    return loads


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

    The server's own scheduler is played against made-up requests. Nothing is sent to the server but
    the question what it measured, unless --measure asks for real loads. Exit status 1: the server
    cannot be asked, or a plan that was measured is off; 2: something to change.
    """
    from headrace.plan.once import run_once  # noqa: PLC0415 - --help need not wait for it

    return run_once(options)
