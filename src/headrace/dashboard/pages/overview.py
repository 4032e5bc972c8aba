"""Every server and its models, in numbers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from nicegui import ui

from headrace.dashboard import words
from headrace.dashboard.history import Taken
from headrace.dashboard.lines import SERVING, Line
from headrace.dashboard.pages.scene import ON_ITS_WAY, STATE_COLOURS, Scene, keep_true
from headrace.dashboard.watch import Watched

_COLUMNS = (
    ("model", "model", "left", "wire"),
    ("state", "state", "left", "wide"),
    ("rate", "requests/s", "right", ""),
    ("failed", "failed/s", "right", "wide"),
    ("p50", "p50 ms", "right", "wide"),
    ("p99", "p99 ms", "right", ""),
    ("batch", "batch", "right", "wide"),
    ("queue", "queue", "right", "wide"),
    ("busy", "busy", "right", "wide"),
    ("limit", "of its limit", "left", ""),
    ("memory", "memory", "right", "wide"),
)
_PROCESSES = (
    ("process", "process", "left", ""),
    ("of", "of", "left", ""),
    ("cores", "cores", "right", ""),
    ("memory", "memory", "right", ""),
)
_STATE = """<q-td :props="props">
  <q-badge :color="props.row.color" outline>{{ props.value }}</q-badge>
  <q-tooltip v-if="props.row.reason">{{ props.row.reason }}</q-tooltip></q-td>"""
_LIMIT = """<q-td :props="props">
  <div v-if="props.row.share !== null" style="min-width: 4.5rem">
    <q-linear-progress :value="Math.min(props.row.share, 1)" size="8px" rounded
      :color="props.row.share > 0.9 ? 'negative' : 'primary'" track-color="grey-5" />
    <span class="dim">{{ props.value }}</span></div>
  <span v-else class="dim">{{ props.value }}</span></q-td>"""


def columns(rows: tuple[tuple[str, str, str, str], ...]) -> list[dict[str, Any]]:
    """Columns of a table: name, heading, side, and ``wide`` for those that phones go without."""
    return [
        {
            "name": name,
            "label": label,
            "field": name,
            "align": side,
            "classes": kind,
            "headerClasses": kind,
        }
        for name, label, side, kind in rows
    ]


def draw(scene: Scene) -> None:
    """Draw a card for each server."""
    renewals = [_card(scene, number, one) for number, one in enumerate(scene.board.watched)]

    def renew() -> None:
        for one in renewals:
            one()

    keep_true(renew)


def _card(scene: Scene, number: int, watched: Watched) -> Any:
    """Draw a server, and return what renews it."""
    with ui.card().classes("w-full"):
        with ui.row().classes("items-center gap-3 w-full"):
            badge = ui.badge("…").classes("text-sm px-2 py-1")
            ui.label(watched.url).classes("text-lg font-medium break-all")
            total = ui.label().classes("dim")
        problem = ui.label().classes("text-negative break-words w-full")
        table = ui.table(columns=columns(_COLUMNS), rows=[], row_key="id").classes("w-full")
        table.props('flat dense no-data-label="no models"').classes("leading")
        # What stands in a slot is made anew with each update, under the finger that is on it: the
        # name is a plain cell, and the whole row leads to its page.
        table.on("rowClick", lambda event: ui.navigate.to(event.args[1]["path"]))
        table.add_slot("body-cell-state", _STATE)
        table.add_slot("body-cell-limit", _LIMIT)
        with ui.expansion("processes").classes("w-full dim").props("dense") as more:
            taken = ui.table(columns=columns(_PROCESSES), rows=[], row_key="id")
            taken.props("flat dense").classes("w-full max-w-xl")

    def renew() -> None:
        history, lines = watched.history, list(scene.lines(watched))
        ago = words.since(scene.board.clock() - (history.since_s or scene.board.clock()))
        badge.set_text("up" if history.up else "down")
        badge.props(f"color={'positive' if history.up else 'negative'}")
        problem.set_text("" if history.up else f"{history.problem} · for {ago}")
        problem.set_visibility(not history.up)
        total.set_text(_total(lines, history.refused_rps()) if history.up else "")
        table.set_visibility(history.up)
        table.rows = [_row(number, one) for one in lines]
        processes = history.taken()
        more.set_visibility(bool(processes))
        more.set_text(_sum(processes))
        taken.rows = [_process(one) for one in processes]

    return renew


def _total(lines: list[Line], refused_rps: float) -> str:
    serving = sum(one.state == SERVING for one in lines)
    rate_rps = sum(one.rate_rps or 0.0 for one in lines)
    parts = [f"{serving} of {len(lines)} serve", f"{words.number(rate_rps)} requests/s"]
    if refused_rps:
        parts.append(f"{words.number(refused_rps)}/s refused before a model")
    return " · ".join(parts)


def _sum(processes: list[Taken]) -> str:
    cores = sum(one.cores for one in processes)
    memory_bytes = sum(one.memory_bytes for one in processes)
    return (
        f"{len(processes)} processes take {words.number(cores)} cores and "
        f"{words.size(memory_bytes)}, pages that they share counted in each"
    )


def _process(one: Taken) -> dict[str, Any]:
    of = f"{one.process.model} {one.process.version}".strip()
    return {
        "id": "/".join(one.process),
        "process": one.process.role,
        "of": of,
        "cores": words.number(one.cores),
        "memory": words.size(one.memory_bytes),
    }


def _row(number: int, one: Line) -> dict[str, Any]:
    step = one.step
    share = one.of_limit
    return {
        "id": f"{one.name}/{one.version}",
        "model": f"{one.name} {one.version}{'' if one.state == SERVING else f' ({one.state})'}",
        "path": f"/model/{number}/{quote(one.name, safe='')}/{one.version}",
        "state": one.state,
        "color": STATE_COLOURS.get(one.state, ON_ITS_WAY),
        "reason": one.reason,
        "rate": words.number(one.rate_rps),
        "failed": words.number(one.failed_rps),
        "p50": words.milliseconds(one.quantile_s(0.5)),
        "p99": words.milliseconds(one.quantile_s(0.99)),
        "batch": words.number(None if step is None else step.mean_batch),
        "queue": words.UNKNOWN if one.queued is None else f"{one.queued:.0f}",
        "busy": words.percent(one.busy),
        "limit": limit_words(one),
        "share": share,
        "memory": words.size(one.memory_bytes),
    }


def limit_words(one: Line) -> str:
    """How much of what it can do a version does."""
    if one.state != SERVING:
        return words.UNKNOWN
    if one.limit is None:
        return "predicting…"
    if one.limit.rate_rps is None:
        return "not known"
    if not one.limit.rate_rps:  # its run alone takes longer
        return f"no rate is within {words.number(one.limit.slo_ms)} ms"
    return f"{words.percent(one.of_limit)} of {words.number(one.limit.rate_rps)}/s"
