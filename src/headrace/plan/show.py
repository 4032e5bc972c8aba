"""A plan for people: one table, and under it why."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.plan.compare import Compared, verdict
from headrace.plan.estimate import Estimate
from headrace.plan.make import Level, Plan
from headrace.plan.reasons import at, count, reasons
from headrace.scheduler.simulate import LATE

_MS = 1e3
_SHARE = 100
_COMPARED = (
    "load", "requests/s", "p50 ms", "off", "p99 ms", "off", "batch", "busy %", "in time %", "good",
)  # fmt: skip
_COLUMNS = ("load", "requests/s", "p50 ms", "p99 ms", "batch", "busy", "in time", "refused", "late")


def show(plan: Plan, compared: tuple[Compared, ...], console: Console) -> None:
    """Print it; what was measured in a second table."""
    console.print(_heading(plan))
    console.print(_table(plan))
    for reason in reasons(plan):
        console.print(Text(f"- {reason}"))
    if compared:
        console.print(_compared_table(compared))
        console.print(Text(verdict(compared), "bold"))
        for one in compared:
            if one.trusted is not True:
                console.print(Text(f"- {one.share:.0%}: {'; '.join(one.causes())}"))


def _heading(plan: Plan) -> Text:
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
    limit = _written(plan.limit, 1.0, 0)
    text = Text(", ".join(parts))
    text.append(f"\nhighest rate inside the objective: {limit} requests/s", "bold")
    if question.slo_s is None:
        text = Text(", ".join(parts))
        text.append(f"\nhighest steady rate: {limit} requests/s", "bold")
    return text


def _table(plan: Plan) -> Table:
    table = Table()
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "load" else "right", no_wrap=True)
    for level in plan.levels:
        table.add_row(*_cells(level))
    table.caption = f"± 95 % of {plan.question.seeds} plays; {plan.question.kind.value} arrivals"
    table.caption_justify = "left"
    return table


def _cells(level: Level) -> list[str]:
    played = level.played
    return [
        at(level),
        f"{played.rate_rps:,.0f}" if played.rate_rps >= _SHARE else f"{played.rate_rps:.3g}",
        _written(played.p50_s, _MS, 1),
        _written(played.p99_s, _MS, 1),
        f"{played.batch.mean:.1f}",
        f"{played.busy.mean * _SHARE:.0f} %",
        _percent(played.in_time.mean),
        _percent(sum(share for code, share in played.refused.items() if code != LATE)),
        _percent(played.refused.get(LATE, 0.0)),
    ]


def _compared_table(compared: tuple[Compared, ...]) -> Table:
    """Predicted and measured, side by side."""
    table = Table(title="predicted / measured", title_justify="left")
    for name in _COMPARED:
        table.add_column(name, justify="left" if name == "load" else "right", no_wrap=True)
    for one in compared:
        measured, predicted = one.measured, one.predicted
        in_time = "" if measured.in_time is None else f"{measured.in_time * _SHARE:.1f}"
        table.add_row(
            f"{one.share:.0%}",
            f"{measured.rate_rps:,.0f}"
            if measured.rate_rps >= _SHARE
            else f"{measured.rate_rps:.3g}",
            _pair(predicted.p50_s, measured.p50_s),
            _error(one.p50_error),
            _pair(predicted.p99_s, measured.p99_s),
            _error(one.p99_error),
            f"{predicted.batch.mean:.1f} / {measured.batch:.1f}",
            f"{predicted.busy.mean * _SHARE:.0f} / {measured.busy * _SHARE:.0f}",
            f"{predicted.in_time.mean * _SHARE:.1f} / {in_time}",
            {None: "?", True: "yes", False: "no"}[one.trusted],
            style={None: "yellow", True: None, False: "red"}[one.trusted],
        )
    return table


def _pair(predicted: Estimate | None, measured_s: float | None) -> str:
    ours = "-" if predicted is None else f"{predicted.mean * _MS:.1f}"
    return f"{ours} / {'-' if measured_s is None else f'{measured_s * _MS:.1f}'}"


def _error(error: float | None) -> str:
    return "" if error is None else f"{error:+.0%}"


def _percent(share: float) -> str:
    return f"{share * _SHARE:.1f} %" if share else ""


def _written(estimate: Estimate | None, factor: float, digits: int) -> str:
    if estimate is None:
        return "-"
    scaled = estimate.scaled(factor)
    if scaled.off_by is None:
        return f"{scaled.mean:,.{digits}f}"
    return f"{scaled.mean:,.{digits}f} ±{scaled.off_by:,.{digits}f}"
