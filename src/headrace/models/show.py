"""Show the models of a server: one table, or one that is kept current until Ctrl-C."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace import tables
from headrace.errors import HeadraceError, OverloadError, UnavailableError
from headrace.models.ask import ServerModels
from headrace.models.rows import Row, row

_EVERY_S = 1.0
_COLUMNS = {
    "model": "model",
    "version": "version",
    "state": "state",
    "labels": "labels",
    "backend": "backend",
    "memory": "memory",
    "loaded_in": "loaded in",
    "parts": "its parts, in s",
    "since": "since",
}
_STYLES = {
    "serving": "green",
    "failed": "bold red",
    "listed": "cyan",
    "unloaded": "dim",
    "recovering": "yellow",
}
# Columns that only wide terminals have, and from which width on.
_WIDE = {"parts": 120, "backend": 90}
# Where even the rest has no room these fold, down to so many letters, ...
_FOLDING = {"model": 24, "labels": 8, "parts": 8}
# ... and before that happens to a name these are left out, one after the other.
_LEFT_OUT = ("since", "loaded_in", "memory", "labels")
# One before each column and one after it.
_SPACES = 2


def show(server: ServerModels, console: Console) -> None:
    """Print the models of a server.

    Raises:
        HeadraceError: it cannot be asked.
    """
    console.print(_picture(server, console.width))


def watch(server: ServerModels, console: Console) -> None:
    """Keep the table current until Ctrl-C; a server that is away for a while is waited for.

    So is one of which a proxy says so.

    Raises:
        HeadraceError: it cannot be asked the first time, or is none of ours.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(_picture(server, console.width), console=console, auto_refresh=False) as live,
    ):
        live.refresh()
        while True:
            time.sleep(_EVERY_S)
            try:
                picture = _picture(server, console.width)
            except (OverloadError, UnavailableError) as error:
                picture = Text(tables.visible(error.message, "\n"), "red")
            live.update(picture, refresh=True)


def tell(error: HeadraceError, console: Console) -> None:
    """Print in one line what is wrong."""
    said = tables.visible(error.message, "\n")
    console.print(f"headrace: {said}", markup=False, highlight=False, soft_wrap=True)


def _picture(server: ServerModels, width: int) -> RenderableType:
    now_s = time.time()
    rows = [_visible(row(said, now_s)) for said in server.index()]
    if not rows:
        return Text("no models")
    reasons = [
        Text(
            f"{one.model} version {one.version}: {one.reason}",
            "red" if one.state == "failed" else "",
        )
        for one in rows
        if one.reason
    ]
    return Group(drawn(rows, width), *reasons)


def _visible(one: Row) -> Row:
    """The same, for a terminal: reasons may have several lines."""
    return Row(*(tables.visible(text, "\n") for text in one))


def drawn(rows: Sequence[Row], width: int) -> Table:
    """The table of some versions, with the columns that have room in so many letters."""
    wanted, spare = _fitting(rows, width)
    table = tables.table()
    for name in wanted:
        right = name in {"version", "memory"}
        table.add_column(
            _COLUMNS[name],
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=name not in _FOLDING,
            width=_least(rows, name, spare) if name == "model" else None,
            min_width=_least(rows, name),
        )
    for one in rows:
        style = _STYLES.get(one.state, "")
        cells = [Text(getattr(one, name), style if name == "state" else "") for name in wanted]
        table.add_row(*cells)
    return table


def _fitting(rows: Sequence[Row], width: int) -> tuple[list[str], int]:
    """The columns that have room, and how much room they leave."""
    wanted = [
        name
        for name in _COLUMNS
        if width >= _WIDE.get(name, 0) and (name != "labels" or any(one.labels for one in rows))
    ]
    least = {name: _least(rows, name) + _SPACES for name in wanted}
    for name in _LEFT_OUT:
        if sum(least.values()) > width:
            least.pop(name, None)
    return list(least), max(0, width - sum(least.values()))


def _least(rows: Sequence[Row], name: str, spare: int = 0) -> int:
    """So many letters a column must have; ``spare`` are those that it may have besides."""
    longest = max(len(_COLUMNS[name]), *(len(getattr(one, name)) for one in rows))
    return min(longest, _FOLDING.get(name, longest) + spare)
