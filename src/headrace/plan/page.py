"""A plan as one HTML file: latency against load, predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.load.page.html import Page, Table
from headrace.load.page.svg import COLOURS, canvas, to_svg
from headrace.plan.compare import Beside
from headrace.plan.make import Plan
from headrace.plan.play import Played, play
from headrace.plan.reasons import reasons
from headrace.plan.show import COMPARED, HEADS, compared_cells, headline, limit_of, plan_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MS = 1e3
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.25)
"""Of the limit: the points of the lines."""
_LINES = (("p50", "p50_s", "one"), ("p99", "p99_s", "two"))


def page_of(plan: Plan, beside: Beside, document: dict[str, Any]) -> Page:
    """Put a plan on a page; more loads are played for its lines."""
    question = replace(plan.question, seeds=min(plan.question.seeds, 3))
    played = [
        play(plan.machine, question, share * plan.limit.mean)
        for share in (_SHARES if plan.limit.mean > 0 else ())
    ]
    tables = [Table(HEADS, [plan_cells(one) for one in plan.levels], numbers=True)]
    if beside.loads:
        tables.append(Table(COMPARED, [compared_cells(one) for one in beside.loads], numbers=True))
    return Page(
        title=f"A plan of {plan.profile.name}",
        how=f"{headline(plan)}. {plan.question.kind.value.capitalize()} arrivals, played on the "
        "server's own scheduler.",
        verdict=" ".join((f"{limit_of(plan)}.", *reasons(plan), *beside.in_words())),
        failed=beside.off or plan.limit.mean <= 0,
        tables=tuple(tables),
        drawings=tuple(_drawings(plan, beside, played)) if played else (),
        document=document,
    )


def _drawings(plan: Plan, beside: Beside, played: Sequence[Played]) -> Sequence[tuple[str, str]]:
    marked = ", and measured (dots)" if beside.loads else ""
    return (
        (
            _latency(plan, beside, played),
            f"Latency of the answered against the rate, predicted (lines){marked}.",
        ),
        (
            _lanes(beside, played),
            f"How busy the lanes are and how large batches: predicted (lines){marked}.",
        ),
    )


def _latency(plan: Plan, beside: Beside, played: Sequence[Played]) -> str:
    figure, (axes,) = canvas()
    for label, name, colour in _LINES:
        known = [(one.rate_rps, getattr(one, name)) for one in played if getattr(one, name)]
        axes.plot(
            [rate for rate, _ in known],
            [estimate.mean * _MS for _, estimate in known],
            color=COLOURS[colour],
            label=label,
        )
        dots = [(one.measured.rate_rps, getattr(one.measured, name)) for one in beside.loads]
        _dots(axes, [(rate, value * _MS) for rate, value in dots if value is not None], colour)
    if plan.question.slo_s is not None:
        slo_ms = plan.question.slo_s * _MS
        axes.axhline(slo_ms, color=COLOURS["bad"], linestyle="--", linewidth=1, label="objective")
    axes.axvline(plan.limit.mean, color=COLOURS["quiet"], linestyle=":", linewidth=1, label="limit")
    axes.set_ylim(bottom=0)
    _finish(axes, "latency, ms")
    return to_svg(figure, "latency")


def _lanes(beside: Beside, played: Sequence[Played]) -> str:
    figure, (busy, batch) = canvas(2)
    rates = [one.rate_rps for one in played]
    busy.plot(rates, [one.busy.mean * 100 for one in played], color=COLOURS["one"])
    _dots(busy, [(one.measured.rate_rps, one.measured.busy * 100) for one in beside.loads], "one")
    busy.set_ylabel("lanes busy, %")
    busy.set_ylim(bottom=0)
    batch.plot(rates, [one.batch.mean for one in played], color=COLOURS["two"])
    _dots(batch, [(one.measured.rate_rps, one.measured.batch) for one in beside.loads], "two")
    batch.set_ylim(bottom=0)
    _finish(batch, "rows in a batch")
    return to_svg(figure, "lanes")


def _dots(axes: Axes, points: Sequence[tuple[float, float]], colour: str) -> None:
    axes.scatter(
        [rate for rate, _ in points],
        [value for _, value in points],
        s=26,
        color=COLOURS[colour],
        zorder=3,
    )


def _finish(axes: Axes, what: str) -> None:
    axes.set_xlabel("requests/s")
    axes.set_ylabel(what)
    axes.set_xlim(left=0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False, labelcolor=COLOURS["ink"])
