"""A plan for people: one table, and under it why."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import tables
from headrace.plan.compare import Beside, Compared
from headrace.plan.estimate import Estimate
from headrace.plan.make import Level, Plan
from headrace.plan.reasons import at, count, reasons
from headrace.scheduler.simulate import LATE

_MS = 1e3
_SHARE = 100
HEADS = ("load", "rate/s", "p50 ms", "p99 ms", "batch", "busy", "in time", "refused", "late")
"""The columns of a plan."""
COMPARED = ("load", "rate/s", "p50 ms", "off", "p99 ms", "off ", "batch", "in time %", "good")
"""The columns of predicted beside measured."""


def show(plan: Plan, beside: Beside, console: Console) -> None:
    """Print it; what was measured in a second table."""
    console.print(Text(headline(plan)))
    console.print(Text(limit_of(plan), "bold"))
    console.print(_table(plan))
    for reason in reasons(plan):
        console.print(Text(f"- {reason}"))
    if not beside.loads:
        return
    console.print(_compared_table(beside))
    for words in beside.in_words():
        console.print(Text(words, "bold"))
    for one in beside.loads:
        if one.trusted is not True:
            console.print(Text(f"- {one.share:.0%}: {'; '.join(one.causes())}"))


def headline(plan: Plan) -> str:
    """What was planned."""
    profile, question = plan.profile, plan.question
    parts = [
        f"{profile.name} version {profile.version}: {profile.backend} {profile.precision}",
        f"{count(question.instances, 'instance')} of {count(profile.threads, 'thread')}",
    ]
    if question.slo_s is not None:
        parts.append(f"objective {question.slo_s * _MS:g} ms")
    if question.rows > 1:
        parts.append(f"{question.rows} rows a request")
    if len(profile.shapes) > 1:
        parts.append(f"{question.elements} elements a row (--elements for others)")
    return ", ".join(parts)


def limit_of(plan: Plan) -> str:
    """The answer, in a line."""
    what = "Highest steady rate" if plan.question.slo_s is None else "Highest rate in time"
    return f"{what}: {_written(plan.limit, 1.0)} requests/s"


def _table(plan: Plan) -> Table:
    rows = [plan_cells(level) for level in plan.levels]
    shown = [place for place in range(len(HEADS)) if any(row[place] for row in rows)]
    table = _columns([HEADS[place] for place in shown])
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    table.caption = f"± 95 % of {plan.question.seeds} plays; {plan.question.kind.value} arrivals"
    return table


def _columns(heads: Sequence[str]) -> Table:
    table = tables.table()
    for name in heads:
        table.add_column(name.strip(), justify="left" if name == "load" else "right", no_wrap=True)
    return table


def plan_cells(level: Level) -> list[str]:
    """One load of a plan."""
    played = level.played
    return [
        at(level),
        _rate(played.rate_rps),
        _written(played.p50_s, _MS),
        _written(played.p99_s, _MS),
        f"{played.batch.mean:.1f}",
        f"{played.busy.mean:.0%}",
        _percent(played.in_time.mean),
        _percent(sum(share for code, share in played.refused.items() if code != LATE)),
        _percent(played.refused.get(LATE, 0.0)),
    ]


def _percent(share: float) -> str:
    return f"{share:.1%}" if share else ""


def _rate(rate_rps: float) -> str:
    return f"{rate_rps:,.0f}" if rate_rps >= _SHARE else f"{rate_rps:.3g}"


def _compared_table(beside: Beside) -> Table:
    """Predicted and measured, side by side."""
    table = _columns(COMPARED)
    table.title, table.title_justify = "predicted / measured", "left"
    for one in beside.loads:
        style = {None: "yellow", True: None, False: "red"}[one.trusted]
        table.add_row(*compared_cells(one), style=style)
    return table


def compared_cells(one: Compared) -> list[str]:
    """One load, predicted and measured."""
    measured, predicted = one.measured, one.predicted
    in_time = "-" if measured.in_time is None else f"{measured.in_time * _SHARE:.1f}"
    return [
        f"{one.share:.0%}",
        _rate(measured.rate_rps),
        _pair(predicted.p50_s, measured.p50_s),
        _error(one.p50_error),
        _pair(predicted.p99_s, measured.p99_s),
        _error(one.p99_error),
        f"{predicted.batch.mean:.1f} / {measured.batch:.1f}",
        f"{predicted.in_time.mean * _SHARE:.1f} / {in_time}",
        {None: "?", True: "yes", False: "no"}[one.trusted],
    ]


def _pair(predicted: Estimate | None, measured_s: float | None) -> str:
    ours = "-" if predicted is None else f"{predicted.mean * _MS:.1f}"
    return f"{ours} / {'-' if measured_s is None else f'{measured_s * _MS:.1f}'}"


def _error(error: float | None) -> str:
    return "" if error is None else f"{error:+.0%}"


def _written(estimate: Estimate | None, factor: float) -> str:
    if estimate is None:
        return "-"
    scaled = estimate.scaled(factor)
    digits = _digits(scaled.mean)
    if scaled.off_by is None:
        return f"{scaled.mean:,.{digits}f}"
    return f"{scaled.mean:,.{digits}f} ±{scaled.off_by:,.{digits}f}"


def _digits(value: float) -> int:
    """How many of them after the point: one, of numbers below 1 as many as three that matter."""
    if value >= _SHARE:
        return 0
    return 2 - math.floor(math.log10(value)) if 0 < value < 1 else 1
