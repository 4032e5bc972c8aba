"""What ``GET /models`` says of each version, in words for people: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


class Row(NamedTuple):
    """One version, as the table shows it."""

    model: str
    version: str
    state: str
    labels: str
    backend: str
    memory: str
    loaded_in: str
    parts: str
    since: str
    reason: str


def row(said: Mapping[str, Any], now_unix_s: float) -> Row:
    """Put one version in words."""
    backend = f"{said['backend']} {said['precision']}" if "backend" in said else ""
    if said.get("tuned"):
        backend += ", tuned"
    size_bytes = said.get("memory_bytes")
    since_s = said.get("since_unix_s") or 0
    return Row(
        said["name"],
        str(said["version"]),
        said["state"],
        ", ".join(said["labels"]),
        backend,
        "" if size_bytes is None else f"{size_bytes / 2**20:.0f} MiB",
        *_loaded(said.get("load_s") or {}, cached=said.get("cached", False)),
        _ago(now_unix_s - since_s) if since_s else "",
        said["reason"],
    )


def _loaded(parts_s: Mapping[str, float], *, cached: bool) -> tuple[str, str]:
    """How long a load took, and what of it."""
    if not parts_s:
        return "", ""
    parts = " + ".join(f"{name} {seconds:.2f}" for name, seconds in parts_s.items())
    return f"{sum(parts_s.values()):.2f} s", f"{parts}{', from the cache' if cached else ''}"


def _ago(seconds: float) -> str:
    """A duration in its largest unit or two: ``3 min``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"
