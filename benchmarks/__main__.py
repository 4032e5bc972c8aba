"""``python -m benchmarks [NAME...]``: measure, show, and keep the figures as JSON."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from benchmarks.figures import Figure, Skipped, save, show
from benchmarks.machine import describe

NAMES = (
    "start",
    "tiny",
    "receivers",
    "real",
    "overload",
    "many",
    "neighbour",
    "placement",
    "plan",
    "tune",
    "json",
    "sequences",
    "failures",
    "chaos",
    "swap",
    "restart",
    "swaps",
    "resident",
    "soak",
    "generator",
    "instrumentation",
    "gpu",
)
MODULES = {"json": "json_"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run those named, or all; exit status 1 when a figure is not what it should be."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"{NAMES}")
    names = parser.parse_args(arguments).names or NAMES
    console = Console()
    missed = False
    for name in names:
        missed |= not _run(name, console)
    return int(missed)


def _run(name: str, console: Console) -> bool:
    module = importlib.import_module(f"benchmarks.{MODULES.get(name, name)}")
    load_before, started_s = os.getloadavg()[0], time.monotonic()
    figures: list[Figure] = []
    try:
        with console.status(f"{name} ...") as status:
            figures += module.measure(lambda step: status.update(f"{name}: {step}"))
    except Skipped as why:
        console.print(f"{name} is skipped: {why}", soft_wrap=True)
        return True
    machine = describe(load_before)
    title = (
        f"{name} ({machine.processor}, {machine.cores} cores, load {machine.load_before} before, "
        f"{machine.load_after} after)"
    )
    show(console, title, figures)
    path = save(name, machine, figures, time.monotonic() - started_s)
    console.print(f"kept in {path.relative_to(path.parent.parent.parent)}", style="dim")
    return all(figure.meets is not False for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
