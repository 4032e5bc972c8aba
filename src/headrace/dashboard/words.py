"""Numbers for people: pure. What is not known is a dash."""

from __future__ import annotations

UNKNOWN = "-"

_MANY = 100
_FEW = 10
_HARDLY_ANY = 0.1
_MS = 1e3
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def number(value: float | None) -> str:
    """As many digits as matter: 12,345, 123, 12.3, 1.23, 0.012, 0."""
    if value is None:
        return UNKNOWN
    if value >= _MANY:
        return f"{value:,.0f}"
    if value >= _FEW:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= _HARDLY_ANY else f"{value:.2g}"


def milliseconds(seconds: float | None) -> str:
    """A time in ms, without the unit."""
    return UNKNOWN if seconds is None else number(seconds * _MS)


def percent(share: float | None) -> str:
    """A share of 1."""
    return UNKNOWN if share is None else f"{share * 100:.0f} %"


def size(size_bytes: float | None) -> str:
    """Memory."""
    return UNKNOWN if size_bytes is None else f"{size_bytes / 2**20:,.0f} MiB"


def since(seconds: float) -> str:
    """How long ago, in its largest unit."""
    whole = max(0, round(seconds))
    for unit_s, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if whole >= unit_s:
            return f"{whole // unit_s} {name}"
    return f"{whole} s"
