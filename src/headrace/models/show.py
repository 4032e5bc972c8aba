"""Show the models of a server: one table, or one that is kept current until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace import tables
from headrace.errors import HeadraceError, UnavailableError
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
# Where even the rest has no room, these fold.
_FOLDING = frozenset({"model", "labels", "parts"})
_LEAST_WIDTH = 8


def show(server: ServerModels, console: Console) -> None:
    """Print the models of a server.

    Raises:
        HeadraceError: it cannot be asked.
    """
    console.print(_picture(server, console.width))


def watch(server: ServerModels, console: Console) -> None:
    """Keep the table current until Ctrl-C; a server that is away for a while is waited for.

    Raises:
        HeadraceError: it cannot be asked the first time, or is none of ours.
    """
    with Live(_picture(server, console.width), console=console, auto_refresh=False) as live:
        live.refresh()
        while True:
            time.sleep(_EVERY_S)
            try:
                picture = _picture(server, console.width)
            except UnavailableError as error:
                picture = Text(error.message, "red")
            live.update(picture, refresh=True)


def tell(error: HeadraceError, console: Console) -> None:
    """Print in one line what is wrong."""
    console.print(f"headrace: {error.message}", markup=False, highlight=False, soft_wrap=True)


def _picture(server: ServerModels, width: int) -> RenderableType:
    now_s = time.time()
    rows = [row(said, now_s) for said in server.index()]
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
    return Group(_table(rows, width), *reasons)


def _table(rows: Sequence[Row], width: int) -> Table:
    table = tables.table()
    wanted = [
        name
        for name in _COLUMNS
        if width >= _WIDE.get(name, 0) and (name != "labels" or any(one.labels for one in rows))
    ]
    for name in wanted:
        right = name in {"version", "memory"}
        table.add_column(
            _COLUMNS[name],
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=name not in _FOLDING,
            min_width=_LEAST_WIDTH if name in _FOLDING else None,
        )
    for one in rows:
        style = _STYLES.get(one.state, "")
        cells = [Text(getattr(one, name), style if name == "state" else "") for name in wanted]
        table.add_row(*cells)
    return table
