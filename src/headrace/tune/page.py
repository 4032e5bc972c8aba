"""A tuning as one HTML file: what batches cost, what was forecast and raced, and the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace.load.page.html import Page, Table
from headrace.load.page.svg import COLOURS, canvas, to_svg
from headrace.tune.reasons import reasons
from headrace.tune.result import Row, Tuning
from headrace.tune.show import HEADS, answer, cells, headline, note, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MS = 1e3
_LINES = ("one", "two", "three", "four")
# Of one thread, of two, of four, ...
_STYLES = ("-", "--", ":", "-.")
_MARKS = ("o", "s", "^", "D", "v", "P")
# Names of candidates are long: in a drawing they have numbers, as in the table.
_NAMED = 12
# Nearer to f32 than this is drawn as on it: numbers of 32 bits say no more.
_NEAREST = 1e-6
# Over the bars, for the legend: a part of their height.
_ROOM = 0.25


def page_of(tuning: Tuning, document: dict[str, Any]) -> Page:
    """Put a tuning on a page."""
    rows = shown(tuning)
    numbered = [[f"{place}. {cells(tuning, row)[0]}", *cells(tuning, row)[1:]] for place, row in
                enumerate(rows, 1)]  # fmt: skip
    left_out = [(one.what, one.why) for one in tuning.left_out]
    tables = [
        Table(("what limits what",), [(reason,) for reason in reasons(tuning)]),
        Table(HEADS, numbered, numbers=len(HEADS) - 1),
    ]
    if left_out:
        tables.append(Table(("left out", "because"), left_out))
    return Page(
        title=f"{tuning.name}, tuned",
        how=f"{headline(tuning)}. {note(tuning)}. *: no other is better in everything.",
        verdict=f"{answer(tuning)}.",
        failed=tuning.raced.ranking is None or tuning.chosen.rate_rps <= 0,
        tables=tuple(tables),
        drawings=(
            (_costs(tuning), "What a row costs in batches of each size, on one instance alone."),
            (_rates(rows), "Answers in time a second: forecast (bars) and raced (dots)."),
            (
                _frontier(tuning, rows),
                (
                    "What each asks for its answers: time, memory, and how far they are from "
                    "those of f32. Filled: no other is better in all of it. Numbers: the table's."
                ),
            ),
        ),
        document=document,
    )


def _costs(tuning: Tuning) -> str:
    figure, (axes,) = canvas()
    colours: dict[str, str] = {}
    for one in tuning.measured:
        kind = one.variant.arithmetic
        colour = colours.setdefault(kind, _LINES[len(colours) % len(_LINES)])
        axes.plot(
            one.sizes,
            [point.median_s * _MS / point.rows for point in one.points],
            color=COLOURS[colour],
            linestyle=_STYLES[(one.variant.threads.bit_length() - 1) % len(_STYLES)],
            marker=".",
            label=str(one.variant),
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which("{x:g}")
    axes.set_xlabel("rows in a batch")
    axes.set_ylabel("ms a row")
    _legend(axes)
    return to_svg(figure, "costs")


def _rates(rows: Sequence[Row]) -> str:
    figure, (axes,) = canvas()
    places = list(range(1, len(rows) + 1))
    axes.bar(
        places,
        [row.forecast.rate_rps for row in rows],
        color=COLOURS["faint"],
        label="forecast",
    )
    raced = [(place, row.raced_rps) for place, row in zip(places, rows, strict=True)]
    known = [(place, rate) for place, rate in raced if rate is not None]
    axes.errorbar(
        [place for place, _ in known],
        [rate.mean for _, rate in known],
        yerr=[rate.off_by or 0.0 for _, rate in known],
        fmt="o",
        color=COLOURS["one"],
        label="raced",
    )
    axes.set_xticks(places)
    axes.set_xlabel("number in the table")
    axes.set_ylabel("answers in time a second")
    axes.margins(y=_ROOM)  # for the legend, over the bars
    axes.set_ylim(bottom=0)
    _legend(axes)
    return to_svg(figure, "rates")


def _frontier(tuning: Tuning, rows: Sequence[Row]) -> str:
    """What each asks for its rate: time, memory, and answers that are not those of f32."""
    named = list(enumerate(rows[:_NAMED], 1))
    apart = [(place, row, _apart(row)) for place, row in named]
    figure, panels = canvas(3 if any(far > _NEAREST for _, _, far in apart) else 2)
    late, memory, *unlike = panels
    for place, row, far in apart:
        best = row.candidate in tuning.frontier
        if row.p99_s is not None:
            _mark(late, place, (row.rate_rps, row.p99_s * _MS), best=best)
        _mark(memory, place, (row.rate_rps, row.memory_bytes / 2**20), best=best)
        for axes in unlike:
            _mark(axes, place, (row.rate_rps, far), best=best)
    slo_ms = tuning.wanted.objective.slo_s * _MS
    late.axhline(slo_ms, color=COLOURS["bad"], linestyle="--", linewidth=1, label="objective")
    late.set_ylim(0, 1.15 * max([slo_ms, *(row.p99_s * _MS for row in rows if row.p99_s)]))
    late.set_ylabel("p99, ms")
    memory.set_ylim(0, 1.2 * max(row.memory_bytes / 2**20 for row in rows))
    memory.set_ylabel("memory, MiB")
    for axes in unlike:
        axes.set_yscale("symlog", linthresh=_NEAREST)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(-_NEAREST / 2, 4 * max(far for _, _, far in apart))
        axes.set_ylabel("1 - cosine to f32")
    panels[-1].set_xlim(0, 1.08 * max((row.rate_rps for row in rows), default=0.0) or 1.0)
    panels[-1].set_xlabel("answers in time a second")
    _legend(late)
    return to_svg(figure, "frontier")


def _apart(row: Row) -> float:
    """How far its answers are from those of f32; 0: it is what others are compared with."""
    return 0.0 if row.accuracy is None else max(1 - row.accuracy.cosine, 0.0)


def _mark(axes: Axes, place: int, at: tuple[float, float], *, best: bool) -> None:
    """Its number in the table, at its place."""
    colour = COLOURS["one" if best else "quiet"]
    axes.scatter(
        *([value] for value in at),
        facecolors=colour if best else "none",
        edgecolors=colour,
        marker=_MARKS[place % len(_MARKS)],
    )
    axes.annotate(
        str(place),
        at,
        xytext=(5, 4),
        textcoords="offset points",
        fontsize=8,
        color=COLOURS["ink"],
    )


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False, labelcolor=COLOURS["ink"])
