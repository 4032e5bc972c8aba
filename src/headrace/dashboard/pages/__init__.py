"""The pages, made of NiceGUI's elements; each is made anew for every browser that opens it.

``frame`` around all of them · ``overview`` of the servers · ``model`` one version in charts ·
``versions`` all of them, with orders · ``slowest`` requests · ``attempt`` to try a model, and each
``field`` of its form · ``scene`` what pages share · ``alone`` in no frame of another page.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from headrace.dashboard.pages.alone import Alone
from headrace.dashboard.pages.frame import draw
from headrace.dashboard.watch import Board

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" '
    'rx="7" fill="#0072b2"/><path d="M5 12c4-4 7 4 11 0s7 4 11 0M5 21c4-4 7 4 11 0s7 4 11 0" '
    'fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>'
)


def build(board: Board, hosts: Sequence[str]) -> FastAPI:
    """Make the application; only requests for these names of hosts are answered."""
    application = FastAPI(openapi_url=None)
    application.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    application.add_middleware(Alone)

    def root() -> None:
        draw(board)

    ui.run_with(
        application,
        root=root,
        title="Headrace",
        favicon=_ICON,
        dark=None,
        show_welcome_message=False,
    )
    return application
