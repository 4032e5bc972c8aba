"""What is printed of a comparison."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from headrace import tables
from headrace.load.command.compared import Compared, Row, Side
from headrace.load.command.show import how
from headrace.load.command.wanted import Wanted
from headrace.load.pairs import Difference
from headrace.load.report import to_document

# Past it a number says nothing more.
_FAR = 10.0
_NONE = "-"
HEADS = ("", "A", "B", "B against A (95 %)")


def rows(compared: Compared) -> list[tuple[str, ...]]:
    """The cells of the table."""
    found = [
        (row.name, *map(_number, row.values), _words(row.difference)) for row in compared.rows()
    ]
    for name in ("refused", "late", "failed", "not_sent"):
        counts = [getattr(side.verdict.report, name, 0) for side in (compared.a, compared.b)]
        if any(counts):
            found.append((name.replace("_", " "), *(f"{count:,}" for count in counts), ""))
    return found


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.2f}"


def _words(difference: Difference | None) -> str:
    if difference is None:
        return _NONE
    high = f"{difference.high:+.1%}" if difference.high < _FAR else "far more"
    interval = f"{difference.low:+.1%} to {high}"
    if not difference.is_told:
        return f"cannot tell apart ({interval})"
    return f"{difference.share:+.1%} ({interval})"


def sides(compared: Compared) -> str:
    """Name both."""
    return f"A: {compared.a.where}; B: {compared.b.where}"


def answer(compared: Compared) -> str:
    """Tell what came of it in a sentence."""
    if compared.failure is not None:
        return f"not ok: {compared.failure}"
    told = [row for row in compared.rows() if row.difference and row.difference.is_told]
    found = ["B against A: " + ", ".join(_told(row) for row in told)] if told else []
    if compared.a.silent or compared.b.silent:
        found.append(_silent(compared))
    return "; ".join(found) or "A and B cannot be told apart"


def _silent(compared: Compared) -> str:
    """Tell of slices without answers: of their latency nothing can be said."""
    a, b, slices = compared.a.silent, compared.b.silent, len(compared.a.slices)
    worse = f": {'A' if a > b else 'B'} did worse there" if a != b else ""
    return f"without a single answer were {a} of A's {slices} slices and {b} of B's{worse}"


def _told(row: Row) -> str:
    share = row.difference.share if row.difference else 0.0
    return f"{row.name} {share:+.1%}"


def show(wanted: Wanted, compared: Compared, console: Console) -> None:
    """Print both side by side; of a late sender no numbers."""
    console.print(Text(sides(compared), "italic"), soft_wrap=True)
    console.print(Text(in_slices(wanted, compared), "italic"), soft_wrap=True)
    if not _is_void(compared):
        table = tables.table()
        for head in HEADS:
            table.add_column(head, justify="right" if head in {"A", "B"} else "left")
        for row in rows(compared):
            table.add_row(*map(Text, row))
        console.print(table)
    style = "bold" if compared.failure is None else "bold red"
    console.print(Text(answer(compared), style), soft_wrap=True)


def in_slices(wanted: Wanted, compared: Compared) -> str:
    """Tell how both were loaded."""
    return f"{how(wanted, compared.a.verdict.report)} each, in {len(compared.a.slices)} slices"


def _is_void(compared: Compared) -> bool:
    reports = (compared.a.verdict.report, compared.b.verdict.report)
    return any(report is None or report.spoiled is not None for report in reports)


def document(wanted: Wanted, compared: Compared) -> dict[str, Any]:
    """Write a comparison as JSON; differences are shares, null where there are none."""
    void = _is_void(compared)
    return {
        "ok": compared.failure is None,
        "failure": compared.failure,
        "protocol": wanted.protocol,
        "slices": len(compared.a.slices),
        "a": _side(compared.a),
        "b": _side(compared.b),
        "differences": {}
        if void
        else {_key(row.name): _difference(row) for row in compared.rows()},
    }


def _key(name: str) -> str:
    """``p50 ms`` → ``p50_ms``, ``in time/s`` → ``in_time_per_s``."""
    return name.replace("/", "_per_").replace(" ", "_")


def _side(side: Side) -> dict[str, Any]:
    report = side.verdict.report
    return {
        "where": side.where,
        "slices_without_answers": side.silent,
        "report": None if report is None else to_document(report),
    }


def _difference(row: Row) -> dict[str, Any] | None:
    found = row.difference
    if found is None:
        return None
    return {
        "b_against_a": round(found.share, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "can_be_told_apart": found.is_told,
    }
