"""Every version of every server, and orders: load, unload, label."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nicegui import events, ui

from headrace.dashboard.pages.overview import columns
from headrace.dashboard.pages.scene import ON_ITS_WAY, STATE_COLOURS, Scene, ask, keep_true, notify
from headrace.dashboard.watch import Watched
from headrace.models.rows import row

_COLUMNS = (
    ("model", "model", "left", ""),
    ("version", "version", "left", ""),
    ("state", "state", "left", ""),
    ("labels", "labels", "left", "wide"),
    ("backend", "backend", "left", "wide"),
    ("memory", "memory", "right", "wide"),
    ("loaded_in", "loaded in", "right", "wide"),
    ("since", "since", "right", "wide"),
    ("reason", "reason", "left", "wide wraps"),
    ("orders", "", "right", ""),
)
_STATE = """<q-td :props="props">
  <q-badge :color="props.row.color" outline>{{ props.value }}</q-badge></q-td>"""
_BUTTONS = """<q-td :props="props">
  <q-btn v-for="order in ['load', 'unload', 'label']" :key="order" flat dense size="sm"
    color="primary"
    :label="order"
    :aria-label="order + ' ' + props.row.model + ' ' + props.row.version"
    @click="() => $parent.$emit('order', order, props.row.model, props.row.version)" /></q-td>"""


def draw(scene: Scene) -> None:
    """Draw a table for each server."""
    ui.label(
        "Load, unload and label need a server that runs with --model-control explicit. load and "
        "unload are of all versions of a model."
    ).classes("dim")
    renewals = [_table(one) for one in scene.board.watched]

    def renew() -> None:
        for one in renewals:
            one()

    keep_true(renew)


def _table(watched: Watched) -> Callable[[], None]:
    """Draw a server, and return what renews it."""
    with ui.card().classes("w-full"):
        ui.label(watched.url).classes("text-lg font-medium break-all")
        problem = ui.label().classes("text-negative")
        table = ui.table(columns=columns(_COLUMNS), rows=[], row_key="id").classes("w-full")
        table.props('flat dense no-data-label="no models"')
        table.add_slot("body-cell-state", _STATE)
        table.add_slot("body-cell-orders", _BUTTONS)

    async def give(event: events.GenericEventArguments) -> None:
        order, name, version = event.args
        await _ORDERS[order](watched, name, int(version))

    table.on("order", give)

    def renew() -> None:
        now_s = time.time()
        problem.set_text("" if watched.history.up else f"down: {watched.history.problem}")
        problem.set_visibility(not watched.history.up)
        table.set_visibility(watched.history.up)
        rows = [_row(said, now_s) for said in watched.history.models]
        if rows != table.rows:  # an update makes the buttons anew, under the finger that is on one
            table.rows = rows

    return renew


def _row(said: Any, now_s: float) -> dict[str, Any]:
    found = row(said, now_s)
    if found.since.endswith(" s"):  # else it would change each second
        found = found._replace(since="< 1 min")
    return {
        "id": f"{found.model}/{found.version}",
        "color": STATE_COLOURS.get(found.state, ON_ITS_WAY),
        **found._asdict(),
    }


async def _load(watched: Watched, name: str, _: int) -> None:
    await _order(f"load {name}", lambda: watched.server.load(name))


async def _unload(watched: Watched, name: str, _: int) -> None:
    if await _confirmed(name, watched.url):
        await _order(f"unload {name}", lambda: watched.server.unload(name))


async def _label(watched: Watched, name: str, version: int) -> None:
    moved = await _asked_label(name, version)
    if moved is not None:
        what = f"label {name} {', '.join(moved)}"
        await _order(what, lambda: watched.server.label(name, moved))


_ORDERS = {"load": _load, "unload": _unload, "label": _label}


async def _order(what: str, call: Callable[[], Any]) -> None:
    """Give an order and say what came of it; a load may take its time, and its page be left."""
    client = ui.context.client
    waiting = ui.notification(f"{what} …", type="ongoing", spinner=True, timeout=None)
    try:
        done = await ask(lambda: (call(), True))
    finally:
        waiting.dismiss()
    if done is not None:
        notify(client, f"{what}: done", type="positive")


async def _confirmed(name: str, url: str) -> bool:
    with ui.dialog() as dialog, ui.card():
        ui.label(f"Unload {name}?").classes("text-lg")
        ui.label(f"{url} will answer no more requests for it. What it has taken it answers.")
        with ui.row().classes("w-full justify-end"):
            ui.button("Cancel", on_click=lambda: dialog.submit(None)).props("flat")
            ui.button("Unload it", on_click=lambda: dialog.submit("unload")).props("color=negative")
    return bool(await _answer(dialog))


async def _asked_label(name: str, version: int) -> dict[str, int | None] | None:
    """Ask which label is to be moved, or removed; None: neither."""
    with ui.dialog() as dialog, ui.card():
        ui.label(f"A label for {name} version {version}").classes("text-lg")
        text = ui.input("label", placeholder="stable").classes("w-full")
        with ui.row().classes("w-full justify-end"):
            ui.button("Cancel", on_click=lambda: dialog.submit(None)).props("flat")
            remove = ui.button("Remove it", on_click=lambda: dialog.submit({text.value: None}))
            ui.button("Move it here", on_click=lambda: dialog.submit({text.value: version}))
            remove.props("flat color=negative")
    moved = await _answer(dialog)
    return moved if moved and all(moved) else None


async def _answer(dialog: ui.dialog) -> Any:
    """What is answered; None when it was closed, or the browser went away, which takes it along."""
    try:
        return await dialog
    finally:
        if not dialog.is_deleted:
            dialog.delete()
