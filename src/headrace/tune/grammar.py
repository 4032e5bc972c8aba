"""The grammar of ``headrace tune``; it imports nothing that takes time, for ``--help``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from headrace.tune.wanted import read_objective, read_share, read_time

T = TypeVar("T")


def add(command: argparse.ArgumentParser) -> None:
    """Add the flags."""
    command.add_argument(
        "model",
        metavar="MODEL",
        help="a model file, or a versioned folder, whose newest version is tuned",
    )
    command.add_argument(
        "--slo",
        type=_read(read_objective),
        required=True,
        metavar="p99=50ms",
        help="the objective: so many of all requests are answered within this time",
    )
    command.add_argument(
        "--rate",
        type=float,
        metavar="R",
        help="requests/s to serve: the cheapest choice that holds a fifth more (default: as many "
        "as can be had)",
    )
    accuracy = command.add_argument_group("accuracy")
    accuracy.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="samples, with labels where there are any: .npz, .npy or a folder (default: made-up "
        "ones, and answers are only compared)",
    )
    accuracy.add_argument(
        "--max-drop",
        type=_read(read_share),
        default=0.005,
        metavar="0.5%",
        help="the share of answers that may become worse (default: 0.5%%)",
    )
    told = command.add_argument_group("how, and what is told")
    told.add_argument(
        "--budget",
        type=_read(read_time),
        default=240.0,
        metavar="4min",
        help="the time all of it may take (default: 4min)",
    )
    told.add_argument(
        "--fresh", action="store_true", help="measure anew what is known from another start"
    )
    told.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where the tuned card goes (default: beside the model)",
    )
    told.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write a page with drawings; needs headrace[report]",
    )
    told.add_argument("--json", action="store_true", help="print one JSON object")


def _read(reader: Callable[[str], T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def run(options: argparse.Namespace) -> int:
    """Find how a model is served best on this machine, within an objective and an accuracy.

    Every backend, precision and number of threads is measured, every combination is played on the
    server's own scheduler, and the best are raced on real servers. The winner is written beside the
    model, where `headrace serve` finds it. Exit status 1: nothing could be raced, or
    nothing was answered in time, and nothing is written; 2: something to change.
    """
    from headrace.tune.once import run_once  # noqa: PLC0415 - --help need not wait for it

    return run_once(options)
