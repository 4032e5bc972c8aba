"""Charts, as the options of ECharts: pure.

The colours are those of Okabe and Ito (and a brown), which people tell apart whatever their eyes,
and which are seen on white and on black. Whatever a server says goes into values, never into keys:
NiceGUI reads keys that begin with a colon as code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from headrace.dashboard.history import KEPT_S, Bin
from headrace.dashboard.window import OK, SHOWN_PHASES, Step

Options = dict[str, Any]

BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
SKY, PINK, YELLOW, GREY = "#56b4e9", "#cc79a7", "#d6c82c", "#8a9299"
BROWN = "#7a4b1e"
PHASE_COLOURS = dict(
    zip(SHOWN_PHASES, (BROWN, RED, SKY, ORANGE, PINK, BLUE, GREEN, YELLOW, GREY), strict=True)
)
"""One for each phase, wherever phases are shown."""

_OUTCOMES = (ORANGE, RED, PINK, YELLOW, SKY, GREY)
_MS, _PERCENT = 1e3, 100.0
# A level so many times as high as the data is left out: beside it, all of that would be flat.
_FAR = 4
_FONT = {"fontFamily": "Roboto, sans-serif", "fontSize": 12}


class Ink(NamedTuple):
    """The colours of text and of lines behind the data."""

    text: str
    faint: str


LIGHT, DARK = Ink("#45505a", "#e3e7ea"), Ink("#b4bec7", "#333c44")


class View(NamedTuple):
    """How a chart is looked at, and when: ``shift_s`` is from our clock to that of the day."""

    ink: Ink
    now_s: float
    shift_s: float

    def at_ms(self, at_s: float) -> int:
        """A time as ECharts wants it."""
        return round((at_s + self.shift_s) * 1000)


class Series(NamedTuple):
    """A named line; None is a gap."""

    name: str
    colour: str
    values: Sequence[float | None]


class Mark(NamedTuple):
    """A level to compare with."""

    name: str
    value: float


def requests(bins: Sequence[Bin], limit_rps: float | None, view: View) -> Options:
    """Requests a second by outcome, stacked, and the predicted limit."""
    codes = sorted({code for one in _steps(bins) for code in one.outcomes if code != OK})
    colours = (_OUTCOMES[place % len(_OUTCOMES)] for place in range(len(codes)))
    lines = [
        Series(code, colour, _each(bins, lambda step, code=code: step.outcome_rps(code)))
        for code, colour in zip((OK, *codes), (BLUE, *colours), strict=True)
    ]
    mark = None if not limit_rps else Mark("predicted limit", limit_rps)
    return _timeline(bins, lines, view, unit="requests/s", stacked=True, mark=mark)


def latency(bins: Sequence[Bin], slo_ms: float | None, view: View) -> Options:
    """Percentiles of what requests took, and the objective."""
    lines = [
        Series(f"p{share * _PERCENT:.0f}", colour, _each(bins, _quantile_ms(share)))
        for share, colour in ((0.5, BLUE), (0.95, ORANGE), (0.99, RED))
    ]
    mark = None if slo_ms is None else Mark("objective", slo_ms)
    return _timeline(bins, lines, view, unit="ms", mark=mark)


def phases(bins: Sequence[Bin], view: View) -> Options:
    """Where the time of a request goes on average, phase upon phase."""
    means = [None if one.step is None else one.step.phase_means_s() for one in bins]
    lines = [
        Series(
            name,
            PHASE_COLOURS[name],
            [None if not one else one[name] * _MS for one in means],
        )
        for name in SHOWN_PHASES
    ]
    return _timeline(bins, lines, view, unit="ms", stacked=True)


def waiting(bins: Sequence[Bin], view: View) -> Options:
    """How many requests wait for a batch."""
    lines = [Series("waiting", BLUE, [one.queued for one in bins])]
    return _timeline(bins, lines, view, unit="requests")


def used(bins: Sequence[Bin], instances: int | None, max_batch: int | None, view: View) -> Options:
    """How busy instances are, and how full batches: busy with batches of one is not full."""
    lines = []
    if instances:
        busy = _each(bins, lambda step: min(step.busy_lanes / instances, 1.0) * _PERCENT)
        lines.append(Series("instances busy", BLUE, busy))
    if max_batch:
        full = _each(bins, lambda step: _filled(step, max_batch))
        lines.append(Series("batches filled", ORANGE, full))
    padding = _each(bins, lambda step: None if step.padded is None else step.padded * _PERCENT)
    if any(value is not None for value in padding):
        lines.append(Series("padding", PINK, padding))
    options = _timeline(bins, lines, view, unit="%")
    options["yAxis"]["max"] = 100
    return options


def batches(step: Step | None, ink: Ink) -> Options:
    """How many of the batches had how many rows."""
    rows = Step().rows if step is None else step.rows
    known = list(zip(rows.bounds, rows.counts, strict=True))
    while known and not known[-1][1]:
        known.pop()
    names = [_rows(place, [bound for bound, _ in known]) for place in range(len(known))]
    shares = [_short(count / rows.count * _PERCENT) for _, count in known] if rows.count else []
    options = _chart(ink, unit="% of batches")
    options["xAxis"] = {
        "type": "category",
        "data": names,
        "name": "rows",
        "nameLocation": "middle",
        "nameGap": 24,
        "nameTextStyle": {"color": ink.text, **_FONT},
        "axisLabel": {"color": ink.text, **_FONT},
        "axisLine": {"lineStyle": {"color": ink.faint}},
        "axisTick": {"show": False},
    }
    options["grid"]["bottom"] = 24
    options["series"] = [
        {
            "type": "bar",
            "name": "batches",
            "data": shares,
            "itemStyle": {"color": BLUE},
            "barMaxWidth": 36,
        }
    ]
    return options


def _rows(place: int, bounds: Sequence[float]) -> str:
    """The sizes in a bucket: ``1``, ``2``, ``3-4``."""
    low = 1 if place == 0 else int(bounds[place - 1]) + 1
    if bounds[place] == float("inf"):
        return f"{low}+"
    high = int(bounds[place])
    return str(high) if low == high else f"{low}-{high}"


def _quantile_ms(share: float) -> Any:
    def of(step: Step) -> float | None:
        seconds = step.quantile_s(share)
        return None if seconds is None else seconds * _MS

    return of


def _filled(step: Step, max_batch: int) -> float | None:
    return None if step.mean_batch is None else step.mean_batch / max_batch * _PERCENT


def _steps(bins: Iterable[Bin]) -> list[Step]:
    return [one.step for one in bins if one.step is not None]


def _each(bins: Sequence[Bin], read: Any) -> list[float | None]:
    return [None if one.step is None else read(one.step) for one in bins]


def _short(value: float | None) -> float | None:
    """Four digits: more are not seen, and are sent each second."""
    return None if value is None else float(f"{value:.4g}")


def _chart(ink: Ink, *, unit: str) -> Options:
    return {
        "animation": False,
        "grid": {"left": 8, "right": 16, "top": 32, "bottom": 28, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
        "yAxis": {
            "type": "value",
            "min": 0,
            "name": unit,
            "nameTextStyle": {"color": ink.text, "align": "left", **_FONT},
            "axisLabel": {"color": ink.text, **_FONT},
            "splitLine": {"lineStyle": {"color": ink.faint}},
        },
    }


def _timeline(
    bins: Sequence[Bin],
    lines: Sequence[Series],
    view: View,
    *,
    unit: str,
    stacked: bool = False,
    mark: Mark | None = None,
) -> Options:
    ink, times_ms = view.ink, [view.at_ms(one.at_s) for one in bins]
    options = _chart(ink, unit=unit)
    options["legend"] = {
        "bottom": 0,
        "left": "center",
        "type": "scroll",
        "icon": "roundRect",
        "itemWidth": 12,
        "itemHeight": 8,
        "textStyle": {"color": ink.text, **_FONT},
    }
    options["xAxis"] = {
        "type": "time",
        "min": view.at_ms(view.now_s - KEPT_S),
        "max": view.at_ms(view.now_s),
        "splitNumber": 5,
        "axisLabel": {"color": ink.text, "hideOverlap": True, **_FONT},
        "axisLine": {"lineStyle": {"color": ink.faint}},
        "splitLine": {"show": False},
        "axisPointer": {"label": {"show": False}},
    }
    options["tooltip"][":valueFormatter"] = (
        f"v => v == null ? '-' : Number(v).toLocaleString('en', "
        f"{{maximumSignificantDigits: 3}}) + ' {unit}'"
    )
    options["series"] = [_series(one, times_ms, stacked=stacked) for one in lines]
    if mark is not None and options["series"]:
        options["series"][0]["markLine"] = _mark(mark, ink)
        options["yAxis"][":max"] = _reach(mark.value)
    return options


def _reach(value: float) -> str:
    """Where the axis ends, in the browser: past the mark, unless data would be flat beside it."""
    step = 10 ** math.floor(math.log10(value)) / 2
    top = math.ceil(value * 1.05 / step) * step
    return f"at => at.max > {value:.6g} || at.max * {_FAR} < {value:.6g} ? null : {top:.6g}"


def _series(line: Series, times_ms: Sequence[int], *, stacked: bool) -> Options:
    values = [[at, _short(value)] for at, value in zip(times_ms, line.values, strict=True)]
    return {
        "type": "line",
        "name": line.name,
        "data": values,
        "showSymbol": False,
        "color": line.colour,
        "lineStyle": {"width": 0 if stacked else 2},
        **({"stack": "all", "areaStyle": {"opacity": 0.85}} if stacked else {}),
    }


def _mark(mark: Mark, ink: Ink) -> Options:
    return {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"color": ink.text, "type": "dashed", "width": 1},
        "label": {
            "formatter": f"{mark.name} {mark.value:,.4g}",
            "position": "insideStartTop",
            "color": ink.text,
            **_FONT,
        },
        "data": [{"yAxis": float(f"{mark.value:.4g}")}],
    }
