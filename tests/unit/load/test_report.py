"""The arithmetic, on results made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from headrace.load.report import Quantiles, Report, make_report
from headrace.load.result import (
    CONNECTION_LOST,
    NOT_SENT,
    OK,
    TIMEOUT,
    Kind,
    Outcome,
    Result,
    grpc_outcome,
    http_outcome,
    kind,
)
from headrace.statuses import STATUSES, GrpcStatus

QUEUE_FULL = Outcome("RESOURCE_EXHAUSTED", "queue_full")
Row = tuple[float, float | None, float, Outcome]


def _result(rows: Sequence[Row], duration_s: float = 1.0, concurrency: int | None = None) -> Result:
    """Rows of intended time, lag (None: never sent), latency, outcome."""
    outcomes = list(dict.fromkeys([OK, *(row[3] for row in rows)]))
    intended_s = np.array([row[0] for row in rows])
    lag_s = np.array([np.nan if row[1] is None else row[1] for row in rows])
    return Result(
        intended_s=intended_s,
        sent_s=intended_s + lag_s,
        done_s=intended_s + [row[2] for row in rows],
        outcome=np.array([outcomes.index(row[3]) for row in rows], np.uint16),
        outcomes=tuple(outcomes),
        answers={},
        started_s=0.0,
        duration_s=duration_s,
        cpu_s=0.25,
        concurrency=concurrency,
    )


def _steady(count: int, lag_s: float, duration_s: float = 1.0) -> Result:
    return _result([(i * duration_s / count, lag_s, 0.002, OK) for i in range(count)], duration_s)


def test_quantiles_are_order_statistics() -> None:
    quantiles = Quantiles.of(np.random.default_rng(1).permutation(np.arange(1.0, 1001.0)))
    assert quantiles == Quantiles(500, 900, 990, 999)
    assert Quantiles.of(np.array([7.0])) == Quantiles(7, 7, 7, 7)
    assert Quantiles.of(np.empty(0)) is None


def test_every_number_of_a_report() -> None:
    rows: list[Row] = [(i / 10, 0.0001, 0.010, OK) for i in range(8)]
    rows += [
        (0.80, 0.0001, 0.060, OK),  # an answer, but after the objective
        (0.81, 0.0001, 0.300, OK),  # and one that came after the end
        (0.82, 0.0001, 0.003, QUEUE_FULL),
        (0.83, 0.0001, 0.004, QUEUE_FULL),
        (0.84, 0.0001, 0.050, Outcome("DEADLINE_EXCEEDED", "shed")),
        (0.85, 0.0001, 1.000, TIMEOUT),
        (0.86, 0.0001, 0.001, CONNECTION_LOST),
        (0.87, None, 0.0, NOT_SENT),
    ]
    report = make_report(_result(rows), slo_s=0.05)
    assert report == Report(
        window_s=1.0,
        concurrency=None,
        slo_s=0.05,
        planned=16,
        sent=15,
        ok=10,
        offered_per_s=16.0,
        per_s=9.0,
        goodput_per_s=8.0,
        latency=report.latency,
        refusal_latency=report.refusal_latency,
        refusal_after_send=report.refusal_after_send,
        refused=2,
        late=2,
        failed=1,
        not_sent=1,
        outcomes=(
            ("RESOURCE_EXHAUSTED (queue_full)", 2),
            ("DEADLINE_EXCEEDED (shed)", 1),
            ("timeout", 1),
            ("connection_lost", 1),
            ("not_sent", 1),
        ),
        lag_p99_s=report.lag_p99_s,
        queued_p99_s=0.0,
        sender_cpu=0.25 / 1.85,
        spoiled=None,
    )
    assert report.latency is not None
    assert report.refusal_latency is not None
    assert report.latency.p50_s == pytest.approx(0.010)
    assert report.latency.p90_s == pytest.approx(0.060)
    assert report.latency.p999_s == pytest.approx(0.300)
    assert report.refusal_latency.p50_s == pytest.approx(0.003)
    assert report.refusal_latency.p99_s == pytest.approx(0.004)
    assert report.refusal_after_send is not None
    assert report.refusal_after_send.p99_s == pytest.approx(0.0039)
    assert report.lag_p99_s == pytest.approx(0.0001)


def test_the_warm_up_is_in_no_number() -> None:
    cold: list[Row] = [(i / 100, 0.5, 0.9, QUEUE_FULL if i % 2 else OK) for i in range(50)]
    warm: list[Row] = [(1 + i / 100, 0.0, 0.001, OK) for i in range(100)]
    report = make_report(_result(cold + warm, duration_s=2.0), slo_s=0.01, warm_s=1.0)
    alone = make_report(_result([(t - 1, g, d, o) for t, g, d, o in warm]), slo_s=0.01)
    assert report.window_s == 1.0
    assert (report.planned, report.ok, report.refused) == (100, 100, 0)
    assert report.goodput_per_s == 100.0
    # What came within the window counts as throughput, whenever it was asked for.
    assert report.per_s == 100.0 + 20
    assert report.outcomes == ()
    assert report.latency is not None
    assert alone.latency is not None
    assert report.latency.p999_s == pytest.approx(alone.latency.p999_s)
    assert report.spoiled is None


def test_a_queue_that_drains_after_the_end_is_no_throughput() -> None:
    backlog: list[Row] = [(i / 100, 0.0, i / 100, OK) for i in range(100)]  # 2x of what is served
    report = make_report(_result(backlog))
    assert report.ok == 100
    assert report.per_s == 50.0


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing"):
        make_report(_steady(10, 0.0), warm_s=1.0)


@pytest.mark.parametrize(
    ("lag_s", "slo_s", "spoiled"),
    [
        (0.0009, None, False),
        (0.0011, None, True),
        (0.0009, 0.050, False),
        (0.0011, 0.050, True),  # never more than a millisecond
        (0.0004, 0.010, False),
        (0.0006, 0.010, True),  # 5 % of 10 ms
    ],
)
def test_a_sender_that_is_late_spoils_the_run(
    lag_s: float, slo_s: float | None, spoiled: bool
) -> None:
    report = make_report(_steady(1000, lag_s), slo_s=slo_s)
    assert (report.spoiled is not None) is spoiled


def test_a_wait_for_a_connection_is_the_servers_and_not_the_senders() -> None:
    late = _steady(1000, 0.9)
    report = make_report(replace(late, queued_s=np.full(1000, 0.8995)), slo_s=0.02)
    assert report.lag_p99_s == pytest.approx(0.0005)
    assert report.spoiled is None
    assert report.has_queued
    assert report.queued_p99_s == pytest.approx(0.8995)
    spoiled = make_report(replace(late, queued_s=np.full(1000, 0.89)), slo_s=0.02).spoiled
    assert spoiled is not None
    assert "10.00 ms late" in spoiled
    assert not make_report(late, slo_s=0.02).has_queued


def test_one_late_request_in_a_hundred_does_not_spoil_and_three_do() -> None:
    rows: list[Row] = [(i / 200, 0.0, 0.001, OK) for i in range(200)]
    for late, spoiled in ((2, False), (6, True)):
        mixed = [(t, 0.01, d, o) if i < late else (t, g, d, o) for i, (t, g, d, o) in _count(rows)]
        report = make_report(_result(mixed))
        assert (report.spoiled is not None) is spoiled
        if report.spoiled:
            assert "10.00 ms late" in report.spoiled


def _count(rows: list[Row]) -> list[tuple[int, Row]]:
    return list(enumerate(rows))


def test_callers_in_a_closed_loop_cannot_be_late() -> None:
    rows: list[Row] = [(i / 100, 0.01, 0.02, OK) for i in range(100)]
    report = make_report(_result(rows, concurrency=4))
    assert report.concurrency == 4
    assert report.spoiled is None
    assert report.lag_p99_s == pytest.approx(0.01)


def test_a_run_without_a_single_answer_has_no_latency_and_no_division_by_zero() -> None:
    report = make_report(_result([(0.1, 0.0, 0.001, QUEUE_FULL)]), slo_s=0.05)
    assert report.latency is None
    assert report.goodput_per_s == 0.0
    assert json.loads(report.to_json())["latency_ms"] is None
    empty = make_report(_result([]))
    assert (empty.planned, empty.per_s, empty.lag_p99_s, empty.spoiled) == (0, 0.0, None, None)


def test_json_is_in_milliseconds_and_has_every_number() -> None:
    found = json.loads(make_report(_steady(100, 0.0002), slo_s=0.05).to_json())
    assert found["latency_ms"] == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "p99.9": 2.0}
    assert found["slo_ms"] == 50
    assert found["goodput_per_s"] == found["per_s"] == 100
    assert found["lag_p99_ms"] == 0.2
    assert found["spoiled"] is None
    assert len(found) == len(Report.__dataclass_fields__)


# --- outcomes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(STATUSES))
def test_an_error_of_headrace_is_the_same_kind_over_http_and_grpc(code: str) -> None:
    http, grpc = STATUSES[code]
    assert kind(http_outcome(http, code)) is kind(grpc_outcome(grpc, code)) is not Kind.OK


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (http_outcome(200), Kind.OK),
        (http_outcome(204), Kind.OK),
        (grpc_outcome(0), Kind.OK),
        (http_outcome(429), Kind.REFUSED),
        (http_outcome(503, "draining"), Kind.REFUSED),
        (http_outcome(504), Kind.LATE),
        (http_outcome(500), Kind.FAILED),
        (http_outcome(499), Kind.FAILED),
        (grpc_outcome(GrpcStatus.RESOURCE_EXHAUSTED), Kind.REFUSED),
        (grpc_outcome(GrpcStatus.RESOURCE_EXHAUSTED, "body_too_large"), Kind.FAILED),
        (grpc_outcome(GrpcStatus.UNAVAILABLE), Kind.REFUSED),
        (grpc_outcome(GrpcStatus.DEADLINE_EXCEEDED, "expired"), Kind.LATE),
        (grpc_outcome(GrpcStatus.INTERNAL), Kind.FAILED),
        (grpc_outcome(77), Kind.FAILED),
        (TIMEOUT, Kind.LATE),
        (CONNECTION_LOST, Kind.FAILED),
        (NOT_SENT, Kind.NOT_SENT),
    ],
)
def test_what_an_outcome_means(outcome: Outcome, expected: Kind) -> None:
    assert kind(outcome) is expected


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (http_outcome(200), "ok"),
        (http_outcome(429, "queue_full"), "429 Too Many Requests (queue_full)"),
        (http_outcome(499), "499"),
        (grpc_outcome(8, "predicted_miss"), "RESOURCE_EXHAUSTED (predicted_miss)"),
        (grpc_outcome(14), "UNAVAILABLE"),
        (grpc_outcome(77), "grpc-status 77"),
    ],
)
def test_outcomes_are_named_by_their_status(outcome: Outcome, name: str) -> None:
    assert str(outcome) == name
