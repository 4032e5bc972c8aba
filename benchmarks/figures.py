"""One measured number, what it should be, and the table of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import Machine

RESULTS = Path(__file__).parent / "results"


class Skipped(Exception):
    """Something it takes is not here; the message says what. Nothing is recorded."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number; ``wanted`` is the least, or with ``at_most`` the most, it should be."""

    name: str
    value: float
    unit: str
    wanted: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def meets(self) -> bool | None:
        """Whether it is what it should be; None when nothing was wanted of it."""
        if self.wanted is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def show(console: Console, title: str, figures: Sequence[Figure]) -> None:
    """Print one table."""
    table = Table("what", "measured", "wanted", "", "note", title=title, title_justify="left")
    for figure in figures:
        wanted = ""
        if figure.wanted is not None:
            wanted = f"{'at most' if figure.at_most else 'at least'} {number(figure.wanted)}"
        verdict = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.meets]
        measured = f"{number(figure.value)} {figure.unit}"
        table.add_row(figure.name, measured, wanted, verdict, figure.note)
    console.print(table)


def number(value: float) -> str:
    """Write a number with three digits that matter, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def save(name: str, machine: Machine, figures: Sequence[Figure], seconds: float) -> Path:
    """Write the figures beside what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    rows = [asdict(figure) | {"meets": figure.meets} for figure in figures]
    text = json.dumps(
        {"benchmark": name, "machine": asdict(machine), "seconds": round(seconds), "figures": rows},
        indent=2,
    )
    path.write_text(text + "\n")
    return path
