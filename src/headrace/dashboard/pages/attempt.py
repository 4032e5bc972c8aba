"""Try a model: give it a file, text or JSON, and see what it answers."""

from __future__ import annotations

import asyncio
import base64
import json
import mimetypes
import time
from dataclasses import dataclass, field

from nicegui import events, ui

from headrace.dashboard import trial, words
from headrace.dashboard.figures import BLUE
from headrace.dashboard.pages.field import Text, file_field, text_field
from headrace.dashboard.pages.scene import Scene, ask
from headrace.dashboard.pages.slowest import legend, parts
from headrace.dashboard.trial import Bar, Described, File, Shown
from headrace.dashboard.watch import Watched
from headrace.errors import HeadraceError

# Larger files are sent too, but not shown.
_LARGEST_SHOWN_BYTES = 8 * 2**20
_MONOSPACE = "input-style='font-family: monospace; max-height: 18rem'"


@dataclass(slots=True)
class _Given:
    """What has been given so far."""

    texts: dict[str, Text] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    rest: Text | None = None


async def draw(scene: Scene) -> None:
    """Draw the choice of a server and a model, and a place for its form."""
    servers = {place: one.url for place, one in enumerate(scene.board.watched)}
    models: dict[str, Described] = {}
    with ui.row().classes("w-full gap-4 items-end"):
        server = ui.select(servers, label="server", value=0).classes("min-w-[16rem]")
        model = ui.select([], label="model").classes("min-w-[12rem]")
        again = ui.button(icon="refresh").props("flat round aria-label='ask for the models again'")
    form = ui.column().classes("w-full gap-4")

    async def find() -> None:
        asked = server.value
        watched = scene.board.watched[asked]
        found = await ask(lambda: [Described.read(one) for one in watched.server.described()])
        if form.is_deleted or server.value != asked:  # its answer came too late
            return
        models.clear()
        models.update({one.name: one for one in found or ()})
        chosen = model.value if model.value in models else next(iter(models), None)
        model.set_options(list(models), value=chosen)
        show()

    def show() -> None:
        with form.clear():
            if model.value in models:
                _form(scene.board.watched[server.value], models[model.value])
            else:
                ui.label("No model serves there now.").classes("dim")

    server.on_value_change(find)
    model.on_value_change(show)
    again.on_click(find)
    await find()


def _form(watched: Watched, model: Described) -> None:
    given = _Given()
    with ui.card().classes("w-full gap-2"):
        ui.label(f"{model.name} version {model.version} · {model.backend}").classes("font-medium")
        for title, tensors in (("takes", model.inputs), ("gives", model.outputs)):
            told = ", ".join(f"{one.name} {one.form}" for one in tensors)
            ui.label(f"{title} {told}").classes("dim break-words w-full")
        for one in model.files:
            _file(one, given)
        if model.others:
            _json(model, given)
        with ui.row().classes("items-center gap-4"):
            send = ui.button("Send", icon="send")
            status = ui.label().props("role=status")
    answer = ui.column().classes("w-full gap-4")

    async def ask_model() -> None:
        send.disable()
        status.set_text("…")
        try:
            await _sent(watched, model, given, status, answer)
        finally:
            if not send.is_deleted:
                send.enable()

    send.on_click(ask_model)


def _file(one: File, given: _Given) -> None:
    """A field for what is no tensor."""
    if one.kind == trial.TEXT:
        given.texts[one.name] = text_field(f"text for {one.name}", "Some text.", "text/*")
        return
    with ui.row().classes("w-full items-start gap-4"):
        place = file_field(f"{one.kind} for {one.name}", f"{one.kind}/*", f"one file, {one.kind}")
        preview = ui.column()

    async def take(event: events.UploadEventArguments) -> None:
        content = await event.file.read()
        given.files[one.name] = content
        place.reset()
        with preview.clear():
            ui.label(f"{event.file.name} · {len(content):,} bytes").classes("dim break-all")
            if len(content) <= _LARGEST_SHOWN_BYTES:
                _preview(one.kind, _type(event.file.name, event.file.content_type), content)

    place.on_upload(take)


def _type(name: str, said: str) -> str:
    """What a browser says of a file; not all know sounds, so else by its name."""
    if said in {"", "application/octet-stream"}:
        return mimetypes.guess_type(name)[0] or ""
    return said


def _preview(kind: str, content_type: str, content: bytes) -> None:
    """Show it, or let it be heard."""
    if not content_type.startswith(f"{kind}/"):
        return
    source = f"data:{content_type};base64,{base64.b64encode(content).decode()}"
    if kind == "image":
        ui.image(source).classes("w-64 max-h-64").props("fit=contain")
    else:
        ui.audio(source)


def _json(model: Described, given: _Given) -> None:
    """A field for tensors."""
    example = "" if model.rest is None else json.dumps(model.rest)
    title = "other inputs, as JSON" if model.files else "input, as JSON"
    given.rest = text_field(title, example, ".json,application/json", _MONOSPACE)
    if model.rest is None:
        ui.label("Its inputs are too large for an example here.").classes("dim")


async def _sent(
    watched: Watched, model: Described, given: _Given, status: ui.label, answer: ui.column
) -> None:
    """Send what was given, and show what came."""
    answer.clear()
    try:
        texts = {name: await one.read() for name, one in given.texts.items()}
        rest = "" if given.rest is None else await given.rest.read()
        began_s = time.perf_counter()
        body = await asyncio.to_thread(trial.body, model, texts, dict(given.files), rest)
        came = await asyncio.to_thread(watched.server.predict, model.name, model.version, body)
        outputs = await asyncio.to_thread(trial.shown, model, came.document)
    except HeadraceError as error:
        if status.is_deleted:
            return
        status.classes(replace="text-negative")
        status.set_text(f"{error.code}: {error.message}")
        return
    if answer.is_deleted:  # another model was chosen meanwhile, or another page
        return
    took_s = time.perf_counter() - began_s
    status.classes(replace="text-positive")
    status.set_text(f"answered in {words.milliseconds(took_s)} ms")
    with answer:
        for one in outputs:
            _output(one)
        _timing(trial.timings_s(came.timing))


def _output(one: Shown) -> None:
    with ui.card().classes("w-full no-shadow edge"):
        ui.label(f"{one.name} {one.form}").classes("font-medium break-all")
        for row in one.rows:
            with ui.element("div").classes("w-full max-w-xl"):
                for bar in row:
                    _bar(bar)
        if one.rows:
            with ui.expansion("as it came").classes("w-full dim"):
                _raw(one.text)
        else:
            _raw(one.text)


def _bar(bar: Bar) -> None:
    with ui.element("div").classes("flex items-center gap-2 w-full py-0.5"):
        ui.label(bar.label).classes("w-40 break-words leading-tight")
        with ui.element("div").classes("grow"):
            ui.element("div").style(
                f"width: {100 * bar.share:.1f}%; min-width: 2px; height: .9rem; "
                f"border-radius: 2px; background: {BLUE}"
            )
        ui.label(f"{bar.value:.4g}").classes("w-20 text-right")


def _raw(text: str) -> None:
    ui.label(text).classes("font-mono text-sm whitespace-pre-wrap break-all w-full")


def _timing(phases_s: dict[str, float]) -> None:
    total_s = phases_s.pop("total", 0.0)
    if not total_s:
        return
    with ui.card().classes("w-full no-shadow edge"):
        ui.label(f"{words.milliseconds(total_s)} ms in the server").classes("font-medium")
        with ui.element("div").classes("phases w-full"):
            for one in parts(phases_s):
                ui.element("span").style(f"width: {one['share']}%; background: {one['color']}")
        legend()
        told = ", ".join(f"{name} {words.milliseconds(one)} ms" for name, one in phases_s.items())
        ui.label(told).classes("dim")
