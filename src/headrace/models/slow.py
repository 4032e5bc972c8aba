"""Show the slowest requests of a server, and where the time of each went."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import tables

# A phase that took this part of a request is what to look at.
_MOST_OF_IT = 0.3
# Where there is no room for all phases, those are told that took more than this part.
_MUCH_OF_IT = 0.1


def show_slowest(requests: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print them as a table, in milliseconds; phases that none of them was in are left out.

    Where that is wider than the terminal, of each request those phases are told that took most.
    """
    if not requests:
        console.print("no request has been answered in the last minute")
        return
    now_s = time.time()
    whole = _whole(requests, now_s)
    console.print(whole if tables.fits(whole, console) else _narrow(requests, now_s))


def _whole(requests: Sequence[Mapping[str, Any]], now_s: float) -> Table:
    """A column for every phase."""
    phases = [
        phase
        for phase in requests[0]["phases_s"]
        if any(_ms(one["phases_s"][phase]) != "0.0" for one in requests)
    ]
    table = _table("model", "request", "outcome", "ago")
    for name in ("total", *phases, "batch"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in requests:
        table.add_row(
            _model(one),
            _id(one) if one["id"] else "-",
            _outcome(one),
            _ago(one, now_s),
            Text(_ms(one["total_s"]), "bold"),
            *(_phase(one["phases_s"][phase], one["total_s"]) for phase in phases),
            str(one["batch_rows"] or "-"),
        )
    return table


def _narrow(requests: Sequence[Mapping[str, Any]], now_s: float) -> Table:
    """A column for the phases that took most, in their order; ids stand under the models."""
    table = _table("model", "outcome", "ago")
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("most of it")
    table.add_column("batch", justify="right", no_wrap=True)
    for one in requests:
        most = [
            f"{phase} {_ms(seconds)}"
            for phase, seconds in one["phases_s"].items()
            if seconds > one["total_s"] * _MUCH_OF_IT
        ]
        table.add_row(
            Text("\n").join([_model(one), *([_id(one, "dim")] if one["id"] else [])]),
            _outcome(one),
            _ago(one, now_s),
            Text(_ms(one["total_s"]), "bold"),
            Text(", ".join(most)),
            str(one["batch_rows"] or "-"),
        )
    return table


def _table(*texts: str) -> Table:
    table = tables.table("slowest requests, ms")
    for name in texts:
        table.add_column(name, overflow="fold")
    return table


def _model(one: Mapping[str, Any]) -> Text:
    return Text(tables.visible(f"{one['model']} {one['version']}"))


def _id(one: Mapping[str, Any], style: str = "") -> Text:
    """What its client has called it, which may be anything."""
    return Text(tables.visible(one["id"]), style)


def _outcome(one: Mapping[str, Any]) -> Text:
    return Text(tables.visible(one["outcome"]), "" if one["outcome"] == "ok" else "red")


def _ago(one: Mapping[str, Any], now_s: float) -> str:
    return f"{max(0.0, now_s - one['ended_unix_s']):.0f} s"


def _phase(seconds: float, total_s: float) -> Text:
    return Text(_ms(seconds), "yellow" if seconds > total_s * _MOST_OF_IT else "")


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"
