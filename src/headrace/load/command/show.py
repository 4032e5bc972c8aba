"""What is printed of a load: a table for people, one JSON object for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from headrace import tables
from headrace.load.command.wanted import Wanted
from headrace.load.report import Quantiles, Report, to_document
from headrace.load.scenario import Score, score
from headrace.load.verdict import Verdict

_MS = 1e3
NO_CONNECTION = (
    "all connections were waiting for answers: the server is at its limit, or needs more "
    "--connections"
)


def document(wanted: Wanted, verdict: Verdict) -> dict[str, Any]:
    """Write a load as JSON; numbers that are not to be believed are null."""
    return {
        "ok": verdict.failure is None,
        "failure": verdict.failure,
        "server": wanted.address.authority + wanted.address.prefix,
        "model": wanted.model,
        "protocol": wanted.protocol,
        "loop": _loop(wanted),
        "senders": wanted.senders,
        "rows_a_request": verdict.rows,
        "warm_up_s": verdict.warm_s,
        "interrupted": verdict.interrupted,
        "server_gone_s": verdict.gone_s,
        "mlperf": _mlperf(wanted, verdict),
        "report": None if verdict.report is None else to_document(verdict.report),
    }


def _mlperf(wanted: Wanted, verdict: Verdict) -> dict[str, Any] | None:
    found = _score(wanted, verdict)
    if wanted.scenario is None or found is None:
        return None
    return {
        "scenario": wanted.scenario.name,
        "metric": found.metric,
        "value": found.value,
        "unit": found.unit,
        "valid": not found.faults,
        "faults": found.faults,
    }


def _score(wanted: Wanted, verdict: Verdict) -> Score | None:
    """What MLPerf makes of a run; of one that is not to be believed, nothing."""
    if wanted.scenario is None or verdict.failure is not None:
        return None
    return score(wanted.scenario, verdict.result, wanted.slo_s, verdict.rows)


def scored(wanted: Wanted, verdict: Verdict) -> list[tuple[str, str]]:
    """The lines of the table that a scenario adds."""
    found = _score(wanted, verdict)
    if wanted.scenario is None or found is None:
        return []
    value = "none" if found.value is None else f"{found.value:,.2f} {found.unit}"
    valid = "valid" if not found.faults else f"not valid: {'; '.join(found.faults)}"
    return [(f"MLPerf {wanted.scenario.name}", f"{value}, {found.metric}"), ("by its rules", valid)]


def _loop(wanted: Wanted) -> dict[str, Any]:
    if wanted.concurrency is not None:
        return {"kind": "closed", "concurrency": wanted.concurrency}
    return {"kind": "open", "arrivals": wanted.arrivals, "rate": wanted.rate}


def show(wanted: Wanted, verdict: Verdict, console: Console) -> None:
    """Print a load as a table, and what is wrong with it."""
    report = verdict.report
    if report is not None:
        console.print(Text(f"{wanted.where}, {how(wanted, report)}", "italic"), soft_wrap=True)
        table = tables.table()
        table.show_header = False
        table.add_column(no_wrap=True)
        table.add_column()
        for name, words in lines(wanted, verdict, report):
            table.add_row(name, Text(words))
        console.print(table)
    if verdict.failure is not None:
        console.print(Text(f"not ok: {verdict.failure}", "bold red"), soft_wrap=True)


def in_a_sentence(verdict: Verdict) -> str:
    """Tell what came of a run."""
    report = verdict.report
    if verdict.failure is not None or report is None or report.latency is None:
        return f"not ok: {verdict.failure}"
    found = f"{report.per_s:,.4g} answers/s, p99 {report.latency.p99_s * _MS:.3g} ms"
    if report.goodput_per_s is None or report.slo_s is None:
        return found
    return f"{found}, {_share_in_time(report):.2%} of the requests within {report.slo_s * _MS:g} ms"


def _share_in_time(report: Report) -> float:
    return (report.goodput_per_s or 0.0) / report.offered_per_s if report.offered_per_s else 0.0


def how(wanted: Wanted, report: Report | None) -> str:
    """Tell how a server was loaded."""
    loop = (
        f"closed loop, {wanted.concurrency} callers"
        if wanted.concurrency is not None
        else f"open loop, {wanted.arrivals}"
    )
    counted = "" if report is None else f", {report.window_s:.3g} s counted"
    return f"{wanted.protocol}: {loop}{counted}"


def lines(wanted: Wanted, verdict: Verdict, report: Report) -> list[tuple[str, str]]:
    """All lines of the table."""
    asked = [] if verdict.rows in {None, 1} else [("rows a request", f"{verdict.rows:,}")]
    return [*scored(wanted, verdict), *asked, *rows(report)]


def rows(report: Report) -> list[tuple[str, str]]:
    """The lines of the table: what, and how much."""
    sent = f"{report.sent:,} of {report.planned:,}"
    found = [("sent", _with_rate(sent, report.offered_per_s if report.sent else None))]
    if report.spoiled is None:
        found += _measured(report)
    found += [
        (name, f"{count:,} ({count / report.planned:.2%})")
        for name, count in (
            ("refused", report.refused),
            ("late", report.late),
            ("failed", report.failed),
            ("not sent", report.not_sent),
        )
        if count
    ]
    found += [(f"  {name}", f"{count:,}") for name, count in report.outcomes]
    found.append(("sender", _sender(report)))
    if report.has_queued and report.queued_p99_s is not None:
        words = f"{report.queued_p99_s * _MS:.2f} ms waited for at p99; {NO_CONNECTION}"
        found.append(("a free connection", words))
    return found


def _with_rate(counted: str, rate_per_s: float | None) -> str:
    """A count with its rate; beside none at all, that of others would contradict it."""
    return counted if rate_per_s is None else f"{counted}, {rate_per_s:,.1f}/s"


def _measured(report: Report) -> list[tuple[str, str]]:
    found = [("answered", _with_rate(f"{report.ok:,}", report.per_s if report.ok else None))]
    if report.goodput_per_s is not None and report.slo_s is not None:
        share = _share_in_time(report)
        found.append(
            (f"within {report.slo_s * _MS:g} ms", f"{report.goodput_per_s:,.1f}/s ({share:.2%})")
        )
    since = "the intended send time" if report.concurrency is None else "the send"
    if report.latency is not None:
        found.append((f"latency from {since}", _spread(report.latency)))
    if report.refusal_latency is not None:
        found.append(("latency of refusals", _spread(report.refusal_latency)))
    return found


def _spread(latency: Quantiles) -> str:
    found = [f"{name} {value:.2f}" for name, value in latency.in_ms().items()]
    return f"{'  '.join(found)} ms"


def _sender(report: Report) -> str:
    used = f"{report.sender_cpu:.2f} cores"
    if report.lag_p99_s is None or report.concurrency is not None:
        return used
    return f"{used}, {report.lag_p99_s * _MS:.2f} ms late at p99"
