"""What the pages of one browser share: what is shown, in which colours, and how it is kept true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nicegui import Client, ui

from headrace.dashboard import figures
from headrace.dashboard.figures import Options, View
from headrace.dashboard.lines import Line, line
from headrace.dashboard.watch import EVERY_S, Board, Watched, loaded
from headrace.errors import HeadraceError

Found = TypeVar("Found")

STATE_COLOURS = {"serving": "positive", "failed": "negative", "unloaded": "grey"}
"""Quasar's names; a state that is none of these is on its way."""

ON_ITS_WAY = "warning"


@dataclass(frozen=True, slots=True)
class Scene:
    """One browser's view of the board."""

    board: Board
    dark: ui.dark_mode

    def view(self) -> View:
        """How charts are looked at now."""
        now_s = self.board.clock()
        ink = figures.DARK if self.dark.value else figures.LIGHT
        return View(ink, now_s, time.time() - now_s)

    def watched(self, number: str) -> Watched | None:
        """A server by its place; None where there is none."""
        found = self.board.watched
        return found[int(number)] if number.isdecimal() and int(number) < len(found) else None

    def lines(self, watched: Watched) -> Iterator[Line]:
        """Every version of a server, in numbers."""
        for said in watched.history.models:
            yield self.line(watched, said)

    def line(self, watched: Watched, said: Mapping[str, Any]) -> Line:
        """One version in numbers."""
        limit = self.board.limits.of(loaded(watched.url, said))
        return line(watched.history, said, limit)


def keep_true(renew: Callable[[], Any], every_s: float = EVERY_S) -> None:
    """Do it now, and again and again while the page is open."""
    ui.timer(every_s, renew)


def redraw(chart: ui.echart, options: Options) -> None:
    """Show other data."""
    chart.options.clear()
    chart.options.update(options)
    chart.update()


async def ask(call: Callable[[], Found]) -> Found | None:
    """Ask a server beside the event loop; None when it refused, which is shown."""
    client = ui.context.client
    try:
        return await asyncio.to_thread(call)
    except HeadraceError as error:
        notify(
            client,
            error.message,
            type="negative",
            multi_line=True,
            actions=[{"label": "OK", "color": "white"}],
            timeout=15000,
        )
        return None


def notify(client: Client, message: str, **options: Any) -> None:
    """Show it, whichever page the browser is at by now; it may have gone altogether."""
    if not client.is_deleted:
        with client.layout:
            ui.notify(message, **options)
