"""What an import did: tables for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import tables
from headrace.importers.rules import Fate, Imported, Note

_STYLES = {Fate.NOT_MAPPED: "yellow", Fate.UNKNOWN: "yellow"}


def show(found: Iterable[Imported], console: Console) -> None:
    """Print a table for each model: what became of what, and what could not."""
    models = tuple(found)
    for one in models:
        if one.notes:
            console.print(_table(one))
        if one.left_out:
            console.print(Text(f"left out: {one.left_out}", style="yellow"))
    served = [one for one in models if not one.shared and one.left_out is None]
    lost = sum(note.fate in _STYLES for one in models for note in one.notes)
    console.print(
        f"{len(served)} of {sum(not one.shared for one in models)} models imported; "
        f"{lost} field{'' if lost == 1 else 's'} could not be mapped"
    )


def _table(one: Imported) -> Table:
    """One row for each field and what became of it, in the order of the fates."""
    title = f"{one.keys['name']}: {one.source}" if "name" in one.keys else one.source
    table = tables.table(Text(title, style="bold"))
    for column in ("line", "field", "value", "is now", "why, or what to do"):
        table.add_column(column, overflow="fold")
    order = list(Fate)
    rows: dict[tuple[str, ...], list[Note]] = {}
    for note in sorted(one.notes, key=lambda note: order.index(note.fate)):
        rows.setdefault((note.field, note.fate, note.key, note.words), []).append(note)
    for notes in rows.values():
        first, *more = notes
        said = f"{first.said} (and {len(more)} more)" if more else first.said
        became = first.key if first.fate is Fate.MAPPED else first.fate.value
        line = first.place.rpartition(":")[2]
        words = first.words.replace("`", "")
        style = _STYLES.get(first.fate, "")
        table.add_row(*map(Text, (line, first.field, said, became, words)), style=style)
    return table


def described(found: Iterable[Imported]) -> dict[str, Any]:
    """The same as values that JSON has."""
    models = tuple(found)
    shared = [dict(one.keys) for one in models if one.shared]
    return {
        "ok": True,
        "problems": [],
        "defaults": shared[0] if shared else {},
        "models": [dict(one.keys) for one in models if not one.shared and one.left_out is None],
        "left_out": [
            {"source": one.source, "name": one.keys.get("name"), "reason": one.left_out}
            for one in models
            if one.left_out is not None
        ],
        "notes": [
            {**asdict(note), "fate": note.fate.value} for one in models for note in one.notes
        ],
    }
