"""One version: numbers, charts of the last minutes, and its slowest requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from nicegui import ui

from headrace.dashboard import figures, words
from headrace.dashboard.figures import Options, View
from headrace.dashboard.history import Bin
from headrace.dashboard.lines import Line
from headrace.dashboard.pages import slowest
from headrace.dashboard.pages.overview import limit_words
from headrace.dashboard.pages.scene import ON_ITS_WAY, STATE_COLOURS, Scene, keep_true, redraw
from headrace.dashboard.watch import Watched

Chart = Callable[[list[Bin], Line, Mapping[str, Any], View], Options]

_TILES = (
    "requests/s",
    "p50 ms",
    "p99 ms",
    "rows a batch",
    "waiting",
    "busy",
    "cores",
    "of its limit",
)


def _slo_ms(line: Line) -> float | None:
    return None if line.limit is None else line.limit.slo_ms


def _limit_rps(line: Line) -> float | None:
    return None if line.limit is None else line.limit.rate_rps


_CHARTS: tuple[tuple[str, Chart], ...] = (
    (
        "Requests by outcome",
        lambda bins, line, _, view: figures.requests(bins, _limit_rps(line), view),
    ),
    ("Latency", lambda bins, line, _, view: figures.latency(bins, _slo_ms(line), view)),
    ("Where the time of a request goes", lambda bins, _, __, view: figures.phases(bins, view)),
    (
        "Rows in a batch, the last seconds",
        lambda _, line, __, view: figures.batches(line.step, view.ink),
    ),
    ("Requests that wait for a batch", lambda bins, _, __, view: figures.waiting(bins, view)),
    (
        "How much is used",
        lambda bins, _, said, view: figures.used(
            bins, said.get("instances"), said.get("max_batch"), view
        ),
    ),
)


def draw(scene: Scene, server: str, name: str, version: str) -> None:
    """Draw the page of a version."""
    watched = scene.watched(server)
    if watched is None or not version.isdecimal():
        ui.label("There is no such server or version here.")
        return
    key = unquote(name), int(version)
    with ui.row().classes("items-center gap-3 w-full"):
        ui.label(f"{key[0]} version {key[1]}").classes("text-xl font-medium break-all")
        badge = ui.badge("…").props("outline")
        told = ui.label().classes("dim break-all")
    problem = ui.label().classes("text-negative break-words w-full")
    with ui.element("div").classes("grid grid-cols-2 sm:grid-cols-4 lg:grid-cols-9 gap-3 w-full"):
        tiles = [_tile(title) for title in _TILES]
    with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-2 gap-4 w-full"):
        charts = [_chart(title) for title, _ in _CHARTS]
    why = ui.label().classes("dim")
    slowest.table(watched, *key)

    def renew() -> None:
        said = _find(watched, key)
        trouble = _trouble(watched, said)
        problem.set_text(trouble)
        problem.set_visibility(bool(trouble))
        if said is None:
            return
        line = scene.line(watched, said)
        badge.set_text(line.state)
        badge.props(f"color={STATE_COLOURS.get(line.state, ON_ITS_WAY)}")
        told.set_text(_told(watched, said))
        why.set_text(_why(line))
        for tile, text in zip(tiles, _numbers(line), strict=True):
            tile.set_text(text)
        view, bins = scene.view(), watched.history.bins(key)
        for chart, (_, make) in zip(charts, _CHARTS, strict=True):
            redraw(chart, make(bins, line, said, view))

    keep_true(renew)


def _find(watched: Watched, key: tuple[str, int]) -> Mapping[str, Any] | None:
    return next(
        (said for said in watched.history.models if (said["name"], said["version"]) == key), None
    )


def _trouble(watched: Watched, said: Mapping[str, Any] | None) -> str:
    """Why there is nothing to see, or not all."""
    if not watched.history.up:
        return f"{watched.url} is down: {watched.history.problem}"
    return "the server has no such version now" if said is None else str(said["reason"])


def _told(watched: Watched, said: Mapping[str, Any]) -> str:
    parts = [watched.url]
    if "backend" in said:
        parts.append(f"{said['backend']} {said['precision']}")
        parts.append(_lanes(said["instances"], said["threads"]))
    parts.append(words.size(said.get("memory_bytes")))
    return " · ".join(parts)


def _lanes(instances: int, threads: int) -> str:
    one = "thread" if threads == 1 else "threads"
    return f"{instances} x {threads} {one}"


def _numbers(line: Line) -> list[str]:
    step = line.step
    return [
        words.number(line.rate_rps),
        words.milliseconds(line.quantile_s(0.5)),
        words.milliseconds(line.quantile_s(0.99)),
        words.number(None if step is None else step.mean_batch),
        words.UNKNOWN if line.queued is None else f"{line.queued:.0f}",
        words.percent(line.busy),
        words.number(line.cores),
        limit_words(line),
    ]


def _why(line: Line) -> str:
    """What the plan says of the limit."""
    if line.limit is None or not line.limit.reasons:
        return ""
    return "As headrace plan sees it: " + " ".join(line.limit.reasons)


def _tile(title: str) -> ui.label:
    wide = " col-span-2" if title == _TILES[-1] else ""
    with ui.card().classes(f"p-3 gap-0 no-shadow edge{wide}"):
        ui.label(title).classes("dim text-sm")
        return ui.label(words.UNKNOWN).classes("text-xl")


def _chart(title: str) -> ui.echart:
    with ui.card().classes("w-full p-3 gap-1 no-shadow edge"):
        ui.label(title).classes("font-medium")
        return ui.echart({}).classes("w-full h-56")
