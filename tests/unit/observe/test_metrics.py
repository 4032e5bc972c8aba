"""Histograms and what Prometheus reads of them."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from headrace.observe.histogram import LATENCY, SECONDS, Histogram
from headrace.observe.metrics import Collector, ModelMetrics, RefusalCollector
from tests.passed import passed

OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"
ALARMS = (
    "predicted_miss",
    "shed",
    "expired",
    "queue_full",
    "inference_failed",
    "internal",
    "engine_lost",
    "scribe_lost",
)
REFUSAL_ALARMS = ("queue_full", "expired", "exhausted", "internal", "scribe_lost")


@given(st.lists(st.floats(0, 100)))
def test_every_observation_is_in_exactly_one_bucket(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    assert sum(histogram.counts) == len(values)
    assert histogram.cumulative()[-1] == ("+Inf", float(len(values)))
    assert abs(histogram.total - sum(values)) < 1e-6


@given(st.floats(SECONDS[0], SECONDS[-1]))
def test_a_bucket_ends_at_or_after_its_value(value: float) -> None:
    histogram = Histogram()
    histogram.observe(value)
    first = next(bound for bound, count in histogram.cumulative() if count)
    assert value <= float(first)


def test_bounds_ascend() -> None:
    for bounds in (SECONDS, LATENCY):
        assert all(upper > lower for lower, upper in pairwise(bounds))


@pytest.mark.parametrize("median_s", [0.004, 0.0123, 0.3])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_quantile_of_what_clients_see_is_read_within_five_per_cent(
    median_s: float, share: float
) -> None:
    values = median_s * np.random.default_rng(1).lognormal(0.0, 0.4, 20_000)
    histogram = Histogram(LATENCY)
    for value in values:
        histogram.observe(value)
    left, place = share * len(values), 0
    while left > histogram.counts[place]:
        left, place = left - histogram.counts[place], place + 1
    lower, upper = LATENCY[place - 1], LATENCY[place]
    read_s = lower + left / histogram.counts[place] * (upper - lower)
    assert read_s == pytest.approx(float(np.quantile(values, share)), rel=0.05)


def test_the_page_has_phases_outcomes_and_gauges() -> None:
    metrics = ModelMetrics("ocr", 3)
    metrics.infer.observe(0.02)
    metrics.rows.observe(7)
    metrics.outcomes["ok"] += 2
    metrics.outcomes["shed"] += 1
    metrics.gauges["queue_length"] = lambda: 5.0
    registry = CollectorRegistry()
    registry.register(Collector((metrics,)))
    page = generate_latest(registry).decode()
    assert 'headrace_phase_seconds_count{model="ocr",phase="infer",version="3"} 1.0' in page
    assert 'headrace_batch_rows_bucket{le="8.0",model="ocr",version="3"} 1.0' in page
    assert 'headrace_batch_rows_bucket{le="4.0",model="ocr",version="3"} 0.0' in page
    assert 'headrace_requests_total{model="ocr",outcome="shed",version="3"} 1.0' in page
    assert 'headrace_queue_length{model="ocr",version="3"} 5.0' in page


def test_what_came_to_no_model_is_told_by_code() -> None:
    (family,) = RefusalCollector(Counter(model_not_found=4, expired=2)).collect()
    told = {one.labels["outcome"]: one.value for one in family.samples if one.value}
    assert told == {"model_not_found": 4, "expired": 2}


def test_what_is_worth_an_alarm_is_told_before_the_first_of_it() -> None:
    page = _page(ModelMetrics("ocr", 3))
    for outcome in ("ok", *ALARMS):
        assert f'headrace_requests_total{{model="ocr",outcome="{outcome}",version="3"}} 0.0' in page
    (family,) = RefusalCollector(Counter()).collect()
    told = {one.labels["outcome"]: one.value for one in family.samples}
    assert told == dict.fromkeys(REFUSAL_ALARMS, 0)


def test_what_is_worth_an_alarm_is_what_the_page_of_operators_says() -> None:
    _, _, rest = OPERATING.read_text("utf-8").partition("Worth an alarm: ")
    of_requests, _, rest = rest.partition("`headrace_refused_total`")
    of_refusals, _, _ = rest.partition("Goodput")
    assert set(re.findall("`([a-z_]+)`", of_requests)) == {"headrace_requests_total", *ALARMS}
    assert set(re.findall("`([a-z_]+)`", of_refusals)) == set(REFUSAL_ALARMS)


def test_requests_are_told_by_priority_and_outcome() -> None:
    metrics = ModelMetrics("ocr", 3)
    for priority, outcome in ((0, "ok"), (0, "ok"), (-999, "ok"), (1, "shed")):
        passed(metrics.requests, 0.01, outcome, priority)
    page = _page(metrics)
    for named, outcome, count in (("1000", "ok", 2), ("1", "ok", 1), ("1001", "shed", 1)):
        labels = f'model="ocr",outcome="{outcome}",priority="{named}",version="3"'
        assert f"headrace_request_seconds_count{{{labels}}} {count}.0" in page


def test_clients_that_name_ever_new_priorities_do_not_fill_the_memory() -> None:
    metrics = ModelMetrics("ocr", 3)
    for priority in range(1000):
        passed(metrics.requests, 0.01, priority=priority)
        passed(metrics.requests, 0.01, "shed", priority)
    assert len(metrics.requests.took) < 40
    passed(metrics.requests, 0.01, "expired", 3)
    assert (3, "expired") in metrics.requests.took, "one that is known is told with every outcome"
    assert 'outcome="ok",priority="other"' in _page(metrics)


def test_padding_is_told_of_models_that_are_padded_alone() -> None:
    padded, plain = ModelMetrics("padded", 1), ModelMetrics("plain", 1)
    padded.asked_elements, padded.run_elements = 60, 100
    page = _page(padded, plain)
    assert 'headrace_run_elements_total{kind="asked",model="padded",version="1"} 60.0' in page
    assert 'headrace_run_elements_total{kind="padding",model="padded",version="1"} 40.0' in page
    assert 'kind="asked",model="plain"' not in page


def _page(*metrics: ModelMetrics) -> str:
    registry = CollectorRegistry()
    registry.register(Collector(metrics))
    return generate_latest(registry).decode()


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) is None
    for value in (0.5, 0.5, 1.5, 9.0):
        histogram.observe(value)
    assert [histogram.quantile(share) for share in (0.5, 0.75, 1.0)] == [1.0, 2.0, 4.0]
