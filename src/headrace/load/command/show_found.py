"""What is printed of a search: a line for each try as it ends, a table and one JSON object."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from headrace import tables
from headrace.load.command.show import NO_CONNECTION
from headrace.load.command.tried import Found, Tried
from headrace.load.command.wanted import Wanted
from headrace.load.report import to_document
from headrace.load.search import Held

_MS = 1e3
HEADS = ("rate/s", "in time", "p50 ms", "p99 ms", "p99.9 ms", "refused", "lost", "")


def try_line(number: int, tried: Tried) -> str:
    """Tell of one try."""
    latency = tried.verdict.report.latency if tried.verdict.report else None
    p99 = "" if latency is None else f"p99 {latency.p99_s * _MS:9.2f} ms  "
    return f"try {number:2}  {tried.rate:10,.1f}/s  {p99}{tried.kept:8.2%} in time  {_words(tried)}"


def _words(tried: Tried) -> str:
    found = [tried.held.value]
    if tried.sender:
        found.append("but for the sender, which was late")
    if tried.held is not Held.YES and tried.verdict.report and tried.verdict.report.has_queued:
        found.append("all connections were waiting for answers")
    if tried.given_up:
        found.append(f"given up after {tried.verdict.result.duration_s:.1f} s")
    return ", ".join(found)


def answer(wanted: Wanted, found: Found) -> str:
    """Tell the answer in a sentence."""
    if found.failure is not None:
        return f"not ok: {found.failure}"
    best, high = found.edges
    objective = f"{(wanted.slo_s or 0) * _MS:g} ms"
    above = "" if high is None else f"; {high:,.4g}/s does not"
    failed = (one.verdict.report for one in found.tries if one.rate == high)
    if any(report is not None and report.has_queued for report in failed):
        above += f". There {NO_CONNECTION}"
    return f"{best:,.4g} requests/s hold within {objective} for 99 of 100{above}"


def rows(found: Found) -> list[tuple[str, ...]]:
    """The tries as the cells of a table, by rate."""
    return [_row(tried) for tried in sorted(found.tries, key=lambda one: one.rate)]


def _row(tried: Tried) -> tuple[str, ...]:
    report = tried.verdict.report
    head = (f"{tried.rate:,.1f}", f"{tried.kept:.2%}")
    if report is None:
        return (*head, *[""] * 5, tried.held.value)
    latency = report.latency
    spread: tuple[str, ...] = ("",) * 3
    if latency is not None:
        spread = tuple(f"{s * _MS:.2f}" for s in (latency.p50_s, latency.p99_s, latency.p999_s))
    lost = report.late + report.failed + report.not_sent
    held = f"{tried.held.value} (late sender)" if tried.sender else tried.held.value
    return (*head, *spread, f"{report.refused:,}", f"{lost:,}", held)


def show(wanted: Wanted, found: Found, console: Console) -> None:
    """Print the tries by their rates, and the answer."""
    console.print(Text(f"{wanted.where}, {wanted.protocol}", "italic"), soft_wrap=True)
    table = tables.table()
    for head in HEADS:
        table.add_column(head, justify="right" if head else "left", no_wrap=bool(head))
    for row in rows(found):
        table.add_row(*map(Text, row))
    console.print(table)
    style = "bold" if found.failure is None else "bold red"
    console.print(Text(answer(wanted, found), style), soft_wrap=True)


def document(wanted: Wanted, found: Found) -> dict[str, Any]:
    """Write a search as JSON."""
    best, high = found.edges
    return {
        "ok": found.failure is None,
        "failure": found.failure,
        "server": wanted.address.authority + wanted.address.prefix,
        "model": wanted.model,
        "protocol": wanted.protocol,
        "arrivals": wanted.arrivals,
        "senders": wanted.senders,
        "slo_ms": wanted.slo_s and wanted.slo_s * _MS,
        "max_per_s": best,
        "is_at_least": best is not None and found.is_at_least,
        "fails_at_per_s": high,
        "tries": [_tried(tried) for tried in found.tries],
    }


def _tried(tried: Tried) -> dict[str, Any]:
    report = tried.verdict.report
    return {
        "rate": tried.rate,
        "held": tried.held.value,
        "share_in_time": round(tried.kept, 5),
        "sender_was_late": tried.sender,
        "given_up": tried.given_up,
        "report": None if report is None else to_document(report),
    }
