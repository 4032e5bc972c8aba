"""What is around every page: the name, the ways, light or dark."""

from __future__ import annotations

from nicegui import ui

from headrace.dashboard.pages import attempt, model, overview, slowest, versions
from headrace.dashboard.pages.scene import Scene
from headrace.dashboard.watch import Board

_WAYS = (("Overview", "/"), ("Models", "/models"), ("Slowest", "/slowest"), ("Try it", "/try"))

# Quasar's greys are pale on white; its cells too wide for a phone.
_STYLE = """
.nicegui-content { max-width: 84rem; margin: 0 auto; padding: 1rem; }
.dim { color: #5c6770; } body.body--dark .dim { color: #a3adb6; }
body { background: #f6f7f8; } body.body--dark { background: #14181b; }
.body--dark .q-card, .body--dark .q-table__card { background: #1c2226; }
.q-table th { font-weight: 600; } .q-table td, .q-table th { font-variant-numeric: tabular-nums; }
.q-table__card { box-shadow: none; background: transparent !important; }
.q-table--no-wrap td.wraps { white-space: normal; overflow-wrap: anywhere; min-width: 10rem; }
.way { opacity: .75; padding: .2rem 0; border-bottom: 2px solid transparent; white-space: nowrap;
  color: inherit; text-decoration: none; }
.way.here { opacity: 1; border-color: currentColor; }
.body--dark .text-negative { --q-negative: #ff9a66; }
.body--dark .text-positive { --q-positive: #46cfa0; }
.body--dark .text-primary { --q-primary: #56b4e9; }
.body--dark .text-warning { --q-warning: #f0b43c; }
.edge { border: 1px solid #dde2e6; } .body--dark .edge { border-color: #333c44; }
.phases { display: flex; height: .7rem; border-radius: 3px; overflow: hidden; min-width: 6rem; }
td.wire { color: #0072b2; } .body--dark td.wire { color: #56b4e9; }
.leading tbody tr { cursor: pointer; }
@media (max-width: 600px) { .nicegui-content { padding: .5rem; }
  .q-table td, .q-table th { padding: 4px 6px; } .q-table th:first-child,
  .q-table td:first-child { padding-left: 8px; } .wide { display: none; } }
"""


def draw(board: Board) -> None:
    """Draw it for one browser."""
    ui.colors(primary="#0072b2", positive="#007a58", negative="#b5430b", warning="#b27700")
    ui.add_css(_STYLE)
    dark = ui.dark_mode(None)
    scene = Scene(board, dark)
    _header(dark)
    ui.sub_pages(
        {
            "/": lambda: overview.draw(scene),
            "/models": lambda: versions.draw(scene),
            "/slowest": lambda: slowest.draw(scene),
            "/try": lambda: attempt.draw(scene),
            "/model/{server}/{name}/{version}": (
                lambda server, name, version: model.draw(scene, server, name, version)
            ),
        }
    ).classes("w-full")


def _header(dark: ui.dark_mode) -> None:
    router = ui.context.client.sub_pages_router
    with ui.header().classes("items-center flex-nowrap gap-x-2 sm:gap-x-5 py-2 px-2 sm:px-4"):
        ui.label("Headrace").classes("text-base sm:text-lg font-medium")
        links = {path: ui.link(name, path).classes("way") for name, path in _WAYS}
        ui.space()
        button = ui.button(icon="contrast", on_click=lambda: dark.set_value(not dark.value))
        button.props("flat round dense color=white aria-label='light or dark'")

    def mark(path: str) -> None:
        here = path.partition("?")[0]
        for target, link in links.items():
            link.classes(**{"add" if target == here else "remove": "here"})

    async def see() -> None:
        if dark.value is None:  # else somebody has chosen, and the connection was lost and found
            dark.value = await ui.run_javascript(
                "matchMedia('(prefers-color-scheme: dark)').matches", timeout=10
            )

    mark(router.current_path)
    router.on_path_changed(mark)
    # Charts are drawn here, in colours that the browser's choice decides.
    ui.context.client.on_connect(see)
