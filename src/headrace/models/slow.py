"""Show the slowest requests of a server, and where the time of each went."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# A phase that took this part of a request is what to look at.
_MOST_OF_IT = 0.3


def show_slowest(requests: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print them as a table, in milliseconds; phases that none of them was in are left out."""
    if not requests:
        console.print("no request has been answered in the last minute")
        return
    phases = [
        phase
        for phase in requests[0]["phases_s"]
        if any(_ms(one["phases_s"][phase]) != "0.0" for one in requests)
    ]
    table = Table(title="slowest requests, ms")
    for name in ("model", "request", "outcome", "ago"):
        table.add_column(name, overflow="fold")
    for name in ("total", *phases, "batch"):
        table.add_column(name, justify="right", no_wrap=True)
    now_s = time.time()
    for one in requests:
        table.add_row(
            Text(f"{one['model']} {one['version']}"),
            Text(one["id"] or "-"),
            Text(one["outcome"], "" if one["outcome"] == "ok" else "red"),
            f"{max(0.0, now_s - one['ended_unix_s']):.0f} s",
            Text(_ms(one["total_s"]), "bold"),
            *(_phase(one["phases_s"][phase], one["total_s"]) for phase in phases),
            str(one["batch_rows"] or "-"),
        )
    console.print(table)


def _phase(seconds: float, total_s: float) -> Text:
    return Text(_ms(seconds), "yellow" if seconds > total_s * _MOST_OF_IT else "")


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"
