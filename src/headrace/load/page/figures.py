"""What is drawn of loads: latencies, the run over time, reasons, and rates against each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from headrace.load.arrivals import Times
from headrace.load.page.svg import COLOURS, canvas, to_svg
from headrace.load.page.timeline import slices
from headrace.load.report import Report
from headrace.load.result import Kind, Result
from headrace.load.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_MS = 1e3
_POINTS = 400
_LINES = ("one", "two", "three", "four")
_SHARES = (0, 50, 90, 99, 99.9, 99.99)


def latencies(runs: Sequence[tuple[str, Verdict]], slo_s: float | None) -> str:
    """The share of requests that were answered within a latency; refused ones never are.

    Every step up shows ten times fewer requests: the tail is what matters.
    """
    figure, (axes,) = canvas()
    for (name, verdict), colour in zip(runs, _LINES, strict=False):
        waited_ms, slower = _slower(verdict)
        axes.step(waited_ms, -np.log10(slower), where="post", label=name, color=COLOURS[colour])
    _mark_objective(axes, slo_s, upright=True)
    axes.set_xscale("log")
    _in_powers(axes.xaxis)
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("answered within it, %")
    axes.set_yticks([-math.log10(1 - share / 100) for share in _SHARES], map(str, _SHARES))
    axes.set_ylim(0, max(2.2, axes.get_ylim()[1]))
    _explain(axes)
    return to_svg(figure, "latencies")


def _slower(verdict: Verdict) -> tuple[Times, Times]:
    """Latencies in order, and the share of all requests that took longer than each, or for ever."""
    result = verdict.result
    counted = (result.intended_s >= verdict.warm_s) & (result.intended_s < _end(verdict))
    ok = counted & result.is_kind(Kind.OK)
    waited_ms = np.sort((result.done_s - result.intended_s)[ok]) * _MS
    if not waited_ms.size:
        return waited_ms, waited_ms
    # Half of the last one is slower than itself: a logarithm has no end.
    slower = 1 - (np.arange(waited_ms.size) + 0.5) / int(np.count_nonzero(counted))
    steps = np.geomspace(1, waited_ms.size, _POINTS)
    picked = np.unique(waited_ms.size - steps.astype(int))
    return waited_ms[picked], slower[picked]


def _end(verdict: Verdict) -> float:
    return verdict.result.duration_s if verdict.gone_s is None else verdict.gone_s


def over_time(result: Result, slo_s: float | None) -> str:
    """Rate and latency in slices of the run."""
    figure, (rates, times) = canvas(2)
    line = slices(result, slo_s)
    answered = "answered" if slo_s is None else "in time"
    rates.plot(line.middle_s, line.offered_per_s, color=COLOURS["quiet"], label="offered", lw=2.5)
    rates.plot(line.middle_s, line.kept_per_s, color=COLOURS["one"], label=answered)
    rates.set_ylabel("requests/s")
    rates.set_ylim(bottom=0)
    _explain(rates)
    times.plot(line.middle_s, line.p50_s * _MS, color=COLOURS["one"], label="p50")
    times.plot(line.middle_s, line.p99_s * _MS, color=COLOURS["two"], label="p99")
    times.set_ylabel("latency, ms")
    times.set_xlabel("seconds")
    times.set_yscale("log")
    _in_powers(times.yaxis)
    _mark_objective(times, slo_s, upright=False)
    _explain(times)
    return to_svg(figure, "over-time")


def reasons(report: Report) -> str:
    """How requests ended that were not answered."""
    figure, (axes,) = canvas()
    names = [name for name, _ in report.outcomes][::-1]
    counts = [count for _, count in report.outcomes][::-1]
    bars = axes.barh(range(len(names)), counts, color=COLOURS["bad"], height=0.6)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=3, color=COLOURS["ink"])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("requests")
    axes.margins(x=0.2)
    axes.grid(visible=False, axis="y")
    return to_svg(figure, "reasons")


def against_rate(runs: Sequence[tuple[float, bool, Report]], slo_s: float | None) -> str:
    """Latency at every rate that was tried; open marks are rates that failed."""
    figure, (axes,) = canvas()
    ordered = sorted((one for one in runs if one[2].latency), key=lambda one: one[0])
    for name, colour in (("p50_s", "one"), ("p99_s", "two"), ("p999_s", "three")):
        label = {"p50_s": "p50", "p99_s": "p99", "p999_s": "p99.9"}[name]
        for held in (True, False):
            rates = [rate for rate, was_held, _ in ordered if was_held is held]
            values = [
                getattr(one.latency, name) * _MS for _, was_held, one in ordered if was_held is held
            ]
            axes.scatter(
                rates,
                values,
                s=22,
                label=label if held else None,
                edgecolors=COLOURS[colour],
                facecolors=COLOURS[colour] if held else "none",
            )
    axes.set_yscale("log")
    _in_powers(axes.yaxis)
    axes.set_xlabel("offered, requests/s (open: the rate did not hold)")
    axes.set_ylabel("latency of the answered, ms")
    _mark_objective(axes, slo_s, upright=False)
    _explain(axes)
    return to_svg(figure, "against-rate")


def _mark_objective(axes: Axes, slo_s: float | None, *, upright: bool) -> None:
    if slo_s is None:
        return
    mark = axes.axvline if upright else axes.axhline
    mark(slo_s * _MS, color=COLOURS["bad"], linestyle="--", linewidth=1, label="objective")


def _in_powers(axis: Axis) -> None:
    """Label a logarithmic axis 1, 2, 5, 10, in plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415 - an extra

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _explain(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False, labelcolor=COLOURS["ink"])
