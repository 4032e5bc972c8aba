"""The HTML report of what was done: which page, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import SettingsError
from headrace.load.command import show, show_compared, show_found
from headrace.load.command.compared import NAMES, Compared
from headrace.load.command.tried import Found
from headrace.load.command.wanted import Wanted
from headrace.load.page import figures, svg
from headrace.load.page.html import Page, Table, render
from headrace.load.search import Held
from headrace.load.verdict import Verdict


def check(path: Path | None) -> None:
    """See that the report can be made, before anything is measured.

    Raises:
        BackendMissing: what draws it is not installed.
        SettingsError: it cannot be written there.
    """
    if path is None:
        return
    svg.check()
    try:
        there = path.exists()
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise SettingsError(f"--report {path}: should be a file in a folder that is there")
        with path.open("ab"):  # what is there stays until the page is made
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise _cannot(path, error) from error


def try_write(path: Path | None, draw: Callable[[], Page]) -> SettingsError | None:
    """Write a page where one is wanted; return why it cannot be, for who tells the numbers first.

    What was measured took minutes, and is not lost for a drawing of it.
    """
    if path is None:
        return None
    try:
        path.write_text(render(draw()), "utf-8")
    except OSError as error:
        return _cannot(path, error)
    except Exception as error:  # noqa: BLE001 - whatever a drawing fails of
        return SettingsError(f"--report {path} cannot be drawn: {error!r}; please report it")
    return None


def _cannot(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"--report {path} cannot be written: {error.strerror}")


def of_one(wanted: Wanted, verdict: Verdict, document: dict[str, Any]) -> Page:
    """The page of one load; a run that is not to be believed has no drawings of latency."""
    report = verdict.report
    return Page(
        title=wanted.where,
        how=show.how(wanted, report),
        verdict=show.in_a_sentence(verdict),
        failed=verdict.failure is not None,
        tables=() if report is None else (Table(("", ""), show.lines(wanted, verdict, report)),),
        drawings=() if report is None else tuple(of_run(verdict)),
        document=document,
    )


def of_search(wanted: Wanted, found: Found, document: dict[str, Any]) -> Page:
    """The page of a search: all rates against each other, and the edge from near."""
    best, high = found.edges
    runs = [
        (one.rate, one.held is Held.YES, one.verdict.report)
        for one in found.tries
        if one.verdict.report is not None
    ]
    drawings = []
    if runs:
        drawings.append(
            (
                figures.against_rate(runs, wanted.slo_s),
                "Latency of the answered at every rate that was tried.",
            )
        )
    last = {one.rate: one.verdict for one in found.tries}
    edges = [(f"{rate:,.4g}/s", last[rate]) for rate in (best, high) if rate is not None]
    if edges:
        drawings += [
            (
                figures.latencies(edges, wanted.slo_s),
                "Share of requests that were answered within a latency, on both sides of the edge.",
            ),
            (
                figures.over_time(edges[0][1].result, wanted.slo_s),
                (
                    f"The last run at {edges[0][0]}: requests offered and answered in time, and "
                    "latency, by the time they were meant to be sent."
                ),
            ),
        ]
    return Page(
        title=wanted.where,
        how=f"The highest rate that keeps the objective; {wanted.protocol}, {wanted.arrivals}.",
        verdict=show_found.answer(wanted, found),
        failed=found.failure is not None,
        tables=(Table(show_found.HEADS, show_found.rows(found), numbers=6),),
        drawings=tuple(drawings),
        document=document,
    )


def of_pair(wanted: Wanted, compared: Compared, document: dict[str, Any]) -> Page:
    """The page of a comparison."""
    sides = [
        (name, side.verdict)
        for name, side in zip(NAMES, (compared.a, compared.b), strict=True)
        if side.verdict.report is not None and side.verdict.report.spoiled is None
    ]
    drawings = [
        (
            figures.latencies(sides, wanted.slo_s),
            "Share of all requests that were answered within a latency, all slices together.",
        )
    ]
    return Page(
        title=f"{compared.a.where} and {compared.b.where}",
        how=f"{show_compared.sides(compared)}. {show_compared.in_slices(wanted, compared)}",
        verdict=show_compared.answer(compared),
        failed=compared.failure is not None,
        tables=(Table(show_compared.HEADS, show_compared.rows(compared), numbers=2),)
        if len(sides) == len(NAMES)
        else (),
        drawings=tuple(drawings) if sides else (),
        document=document,
    )


def of_run(verdict: Verdict) -> Sequence[tuple[str, str]]:
    """Draw one run."""
    report = verdict.report
    if report is None:
        return []
    drawn = []
    if report.spoiled is None and report.ok:
        kept = "answered" if report.slo_s is None else "answered within the objective"
        drawn = [
            (
                figures.latencies([("", verdict)], report.slo_s),
                (
                    "Share of all requests that were answered within a latency; what was refused, "
                    "late or failed is missing at the top."
                ),
            ),
            (
                figures.over_time(verdict.result, report.slo_s),
                (
                    f"Requests offered and {kept}, and latency, by the time they were meant to be "
                    "sent; the warm-up is shown too."
                ),
            ),
        ]
    if report.outcomes:
        drawn.append((figures.reasons(report), "How requests ended that were not answered."))
    return drawn
