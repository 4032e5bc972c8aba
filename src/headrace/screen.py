"""What the person who starts the server sees: what would be loaded, what was, that it is ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import tables
from headrace.control import ModelServing, ModelState, TunedUse
from headrace.device import CPU
from headrace.engine_control import Profile
from headrace.settings import Precision
from headrace.topology import listed

# Of hundreds of models the first say enough.
_MOST_LATE = 8
# It waits for its turn: so many load at a time.
_FOUND = "found"


def show_loaded(console: Console, serving: ModelServing) -> None:
    """Say what was loaded, how, and how long that took."""
    profile = serving.profile
    batches = f"batches up to {max(profile.batch_sizes, default=1)}"
    console.print(
        f"[bold]{serving.name}[/] version {serving.version}: {profile.backend} "
        f"{profile.precision}{_but(serving)}"
        f"{'' if profile.device == CPU else f' on {profile.device}'}, "
        f"{profile.instances} instance(s) of {profile.threads} thread(s){_where(profile)}, "
        f"{batches if profile.signature.batched else 'every request alone'}, "
        f"started in {profile.start_s:.2f} s, loaded in {profile.load_s:.2f} s, "
        f"{'from the cache, ' if profile.cached else ''}"
        f"{f'warm in {profile.warm_s:.2f} s' if profile.measurements else 'cold'}, "
        f"{profile.memory_bytes / 2**20:.0f} MiB",
        soft_wrap=True,
    )
    if profile.alone:
        _plain(console, f"  requests do not share runs: {' '.join(profile.alone.split())}")
    if serving.tuned is not None:
        _show_tuned(console, serving.tuned)


class Late(NamedTuple):
    """A version that a start still waits for, what it is at, and for how long."""

    model: str
    version: int
    state: str
    for_s: float


def still_loading(states: Iterable[ModelState], now_unix_s: float) -> tuple[tuple[Late, ...], int]:
    """Those that load, for the longest first, then those whose turn comes; and how many more."""
    late = (
        Late(one.name, one.version, one.state, round(max(0.0, now_unix_s - one.since_unix_s), 1))
        for one in states
        if one.state in {_FOUND, "loading", "warming"}
    )
    first = sorted(late, key=lambda one: (one.state == _FOUND, -one.for_s))
    return tuple(first[:_MOST_LATE]), max(0, len(first) - _MOST_LATE)


def show_late(console: Console, late: Sequence[Late], more: int) -> None:
    """Say which models a start still waits for, and how many more."""
    told = (f"{one.model} version {one.version} ({one.state}, {one.for_s:.0f} s)" for one in late)
    rest = f" and {more} more" if more else ""
    _plain(console, f"still loading: {', '.join(told)}{rest}")


def _but(serving: ModelServing) -> str:
    """The layers that compute otherwise."""
    layers = serving.settings.f32_layers
    return f" ({layers} in f32)" if layers and serving.profile.precision == Precision.BF16 else ""


def _where(profile: Profile) -> str:
    """The cores it keeps to: of each instance, where these differ."""
    places = dict.fromkeys(map(listed, profile.cores))
    return f" on cores {' | '.join(places)}" if places else ""


def _show_tuned(console: Console, use: TunedUse) -> None:
    """Say what was taken of a tuned card, and what that means."""
    keys = ", ".join(use.keys) or "nothing"
    notes = f"; {use.note}" if use.note else ""
    _plain(
        console,
        f"  tuned: {keys} from {use.file}, measured here at {use.rate_rps:,.0f} requests/s with "
        f"{100 * use.quantile:g} % of them within {use.slo_ms:g} ms{notes}",
    )


def show_ready(console: Console, urls: Sequence[str], listed: int, seconds: float) -> None:
    """Say where the server is, and how many models are loaded only when they are asked for."""
    for url in urls:
        _plain(console, f"endpoint: {url}  (HTTP/1.1, HTTP/2, gRPC)")
    if listed:
        words = "model loads at its" if listed == 1 else "models load at their"
        _plain(console, f"{listed} {words} first request")
    _plain(console, f"Headrace is ready after {seconds:.2f} s: {urls[0]}")


def show_checked(console: Console, models: Sequence[Mapping[str, Any]]) -> None:
    """Say what a settings file has served, a version a row: each has the same keys.

    Where the paths of the files have no room, they stand below the table.
    """
    if not models:
        return
    whole = _checked(models, list(models[0]))
    if tables.fits(whole, console):
        console.print(whole)
        return
    console.print(_checked(models, [name for name in models[0] if name != "file"]))
    for one in models:
        _plain(console, f"{one['model']} version {one['version']}: {one['file']}")


def _checked(models: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    table = tables.table()
    for name in columns:
        table.add_column(name, overflow="fold")
    for one in models:
        cells = ("-" if one[name] is None else str(one[name]) for name in columns)
        table.add_row(*map(Text, cells))
    return table


def _plain(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False, emoji=False)
