"""The slowest requests of the last minutes, and where the time of each went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from headrace.dashboard import words
from headrace.dashboard.figures import GREY, PHASE_COLOURS
from headrace.dashboard.pages.overview import columns
from headrace.dashboard.pages.scene import Scene, keep_true
from headrace.dashboard.watch import Watched
from headrace.errors import HeadraceError

_COLUMNS = (
    ("model", "model", "left", ""),
    ("id", "request", "left", "wide"),
    ("outcome", "outcome", "left", ""),
    ("ago", "ago", "right", "wide"),
    ("total", "total ms", "right", ""),
    ("phases", "where its time went", "left", ""),
    ("batch", "batch", "right", "wide"),
)
_PHASES = """<q-td :props="props" style="min-width: 9rem">
  <div class="phases"><span v-for="one in props.row.parts" :key="one.name"
    :style="{ width: one.share + '%', background: one.color }"></span></div>
  <span class="dim">{{ props.value }}</span>
  <q-tooltip><div v-for="one in props.row.parts" :key="one.name">
    {{ one.name }} {{ one.ms }} ms</div></q-tooltip></q-td>"""
_EVERY_S = 2.0
# Of a phase that is less than this part of the whole there is nothing to see.
_LEAST_SHARE = 0.005
# Phases that only single requests tell of.
_COLOURS = PHASE_COLOURS | {"lane": PHASE_COLOURS["other"]}


def draw(scene: Scene) -> None:
    """Draw a table for each server."""
    for watched in scene.board.watched:
        ui.label(watched.url).classes("text-lg font-medium break-all")
        table(watched)


def table(watched: Watched, model: str | None = None, version: int | None = None) -> None:
    """The slowest of a server, or of one of its versions."""
    with ui.card().classes("w-full no-shadow edge"):
        ui.label("Slowest requests of the last minutes").classes("font-medium")
        problem = ui.label().classes("text-negative break-words")
        legend()
        shown = ui.table(columns=columns(_COLUMNS), rows=[], row_key="key").classes("w-full")
        shown.props('flat dense no-data-label="none were answered"')
        shown.add_slot("body-cell-phases", _PHASES)

    async def renew() -> None:
        found: list[dict[str, Any]] = []
        trouble = ""
        try:
            found = await asyncio.to_thread(watched.server.slowest, model, version)
        except HeadraceError as error:
            trouble = error.message
        problem.set_text(trouble)
        problem.set_visibility(bool(trouble))
        shown.set_visibility(not trouble)
        now_s = time.time()
        shown.rows = [_row(place, one, now_s) for place, one in enumerate(found)]

    keep_true(renew, _EVERY_S)


def legend() -> None:
    """Which colour is which phase."""
    with ui.row().classes("gap-x-3 gap-y-0"):
        for name, colour in PHASE_COLOURS.items():
            with ui.row().classes("items-center gap-1"):
                ui.element("span").style(
                    f"width: .7rem; height: .7rem; border-radius: 2px; background: {colour}"
                )
                ui.label(name).classes("dim text-sm")


def parts(phases_s: Mapping[str, float]) -> list[dict[str, Any]]:
    """The phases of a request as parts of a bar."""
    total_s = sum(phases_s.values()) or 1.0
    return [
        {
            "name": name,
            "color": _COLOURS.get(name, GREY),
            "share": round(100 * seconds / total_s, 2),
            "ms": words.milliseconds(seconds),
        }
        for name, seconds in phases_s.items()
        if seconds / total_s >= _LEAST_SHARE
    ]


def _row(place: int, one: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    longest = max(one["phases_s"].items(), key=lambda pair: pair[1])
    return {
        "key": place,
        "model": f"{one['model']} {one['version']}",
        "id": one["id"] or words.UNKNOWN,
        "outcome": one["outcome"],
        "ago": words.since(now_s - one["ended_unix_s"]),
        "total": words.milliseconds(one["total_s"]),
        "phases": f"{longest[0]} {words.milliseconds(longest[1])} ms",
        "parts": parts(one["phases_s"]),
        "batch": str(one["batch_rows"] or words.UNKNOWN),
    }
