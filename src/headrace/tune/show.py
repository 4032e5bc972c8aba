"""A tuning for people: the answer, one table, and under it why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from headrace import tables
from headrace.tune.reasons import reasons
from headrace.tune.result import Row, Tuning
from headrace.tune.space import count

_MS = 1e3
_HUNDRED = 100
# Of those that were only forecast, so many are shown.
_SHOWN = 4
HEADS = (
    *("settings", "lanes", "batch", "forecast", "in time", "p99 ms"),
    *("MiB", "top-1", "cosine"),
)
"""The columns of candidates; numbers from the second on."""


class Card(NamedTuple):
    """Where the tuned card was written, and where a server looks for one.

    ``not_taken`` are settings of it that a server would not have, because of those that are
    ``fixed``: key → where.
    """

    written: Path
    looked_for: Path
    not_taken: tuple[str, ...] = ()
    fixed: Mapping[str, str] = MappingProxyType({})


def show(tuning: Tuning, card: Card | None, console: Console) -> None:
    """Print it, and where the tuned card is; None: there is none."""
    console.print(Text(headline(tuning)))
    console.print(Text(answer(tuning), "bold"))
    # In a terminal of 80 columns the settings take two lines, and nothing else does.
    table = tables.table()
    for name in HEADS:
        is_text = name == HEADS[0]
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
    for row in shown(tuning):
        style = "bold" if row == tuning.chosen else None
        table.add_row(*cells(tuning, row), style=style)
    table.caption = note(tuning)
    console.print(table)
    for reason in reasons(tuning):
        console.print(Text(f"- {reason}"))
    for one in tuning.left_out:
        console.print(Text(f"- Left out: {one.what}: {one.why}"))
    if card is not None:
        console.print(Text(_where(card)), soft_wrap=True)
        if card.not_taken:
            console.print(Text(_not_taken(card), "yellow"), soft_wrap=True)


def _where(card: Card) -> str:
    if card.written == card.looked_for:
        return f"Written to {card.written}; `headrace serve` takes it from there."
    return (
        f"Written to {card.written}; `headrace serve` takes one that is called {card.looked_for}."
    )


def _not_taken(card: Card) -> str:
    fixed = ", ".join(f"{key} ({where})" for key, where in card.fixed.items())
    return (
        f"As it is, `headrace serve` will not take {', '.join(card.not_taken)} from it, for you "
        f"have set {fixed}, which wins: take that out there."
    )


def headline(tuning: Tuning) -> str:
    """What was tuned, for what."""
    rate = tuning.wanted.rate_rps
    wanted = "" if rate is None else f", {rate:,.4g} requests/s"
    known = f", {count(tuning.resumed, 'measurement')} from before" if tuning.resumed else ""
    return (
        f"{tuning.name} on {count(tuning.cores, 'core')}, {tuning.wanted.objective}{wanted}; "
        f"{tuning.spent_s:.0f} s{known}"
    )


def answer(tuning: Tuning) -> str:
    """The answer, in a line."""
    chosen, gain = tuning.chosen, tuning.gain
    said = f"{chosen.candidate}: {_rate(chosen.rate_rps)} answers/s in time"
    if chosen.candidate == tuning.untuned.candidate:
        return f"{said}. These are the settings that are taken untuned"
    if gain is None:
        return said
    return f"{said}, {gain:.2f} times the {_rate(tuning.untuned.rate_rps)} untuned"


def note(tuning: Tuning) -> str:
    """What the columns are."""
    words = [
        "lanes: instances x threads",
        "forecast, in time: answers a second within the objective, given more than it holds",
        (
            "p99: at the highest rate inside the objective where that was measured, else forecast "
            "at 80 % of it"
        ),
    ]
    if tuning.origin:
        words.append(f"answers compared on {tuning.origin}{_allowed(tuning)}")
    return "; ".join(words)


def _allowed(tuning: Tuning) -> str:
    """What the comparison allows, where it is of best classes."""
    judged = [row.accuracy for row in tuning.rows if row.accuracy is not None]
    allowed = [one for one in judged if one.max_drop is not None]
    if not allowed:
        return ""
    what = "be right less often" if allowed[0].labelled else "name another best class"
    return f": at most {allowed[0].max_drop:.2%} may {what}"


def shown(tuning: Tuning) -> list[Row]:
    """Those that were raced, the best that were not, and the untuned one."""
    raced = [row for row in tuning.rows if row.raced_rps is not None or row == tuning.chosen]
    others = [row for row in tuning.rows if row not in raced]
    kept = others[:_SHOWN]
    if tuning.untuned in others and tuning.untuned not in kept:
        kept.append(tuning.untuned)
    return [*raced, *kept]


def cells(tuning: Tuning, row: Row) -> list[str]:
    """One candidate."""
    raced, accuracy = row.raced_rps, row.accuracy
    marks = [
        *(["(untuned)"] if row.candidate == tuning.untuned.candidate else []),
        *(["*"] if row.candidate in tuning.frontier else []),
    ]
    wait_ms = row.candidate.linger_ms
    lingers = [f"linger {wait_ms:g} ms"] if wait_ms else []
    top1 = None if accuracy is None else accuracy.top1_agreement
    return [
        " ".join((row.candidate.variant.arithmetic, *lingers, *marks)),
        f"{row.candidate.instances} x {row.candidate.threads}",
        str(row.candidate.max_batch),
        _rate(row.forecast.rate_rps),
        "" if raced is None else _rate(raced.mean),
        "" if row.p99_s is None else f"{row.p99_s * _MS:.1f}",
        f"{row.memory_bytes / 2**20:.0f}",
        "" if top1 is None else f"{top1:.1%}",
        "" if accuracy is None else f"{accuracy.cosine:.5f}",
    ]


def _rate(rate_rps: float) -> str:
    return f"{rate_rps:,.0f}" if rate_rps >= _HUNDRED else f"{rate_rps:.3g}"
