"""TensorFlow Serving's page of metrics, written from ours."""

from __future__ import annotations

import re

from headrace.observe.tfserving import ApiMetrics, page


def counted(*request_s: float, refused: int = 0) -> ApiMetrics:
    metrics = ApiMetrics()
    for seconds in request_s:
        metrics.answered("predict", "REST", seconds, seconds / 2)
    if refused:
        metrics.statuses["NOT_FOUND"] += refused
    return metrics


def samples(text: str, pattern: str) -> dict[str, float]:
    return {
        k: float(v)
        for k, v in re.findall(rf"^:tensorflow:serving:({pattern}) (\S+)$", text, re.MULTILINE)
    }


def test_each_model_has_its_numbers() -> None:
    text = page({"m": counted(20e-6, 1, 30e-6, refused=2), "n": counted()}).decode()
    assert samples(text, r"request_count\S*") == {
        'request_count{model_name="m",status="OK"}': 3,
        'request_count{model_name="m",status="NOT_FOUND"}': 2,
    }
    labels = 'model_name="m",API="predict",entrypoint="REST"'
    found = samples(text, r"request_latency_\S+")
    assert found[f'request_latency_bucket{{{labels},le="18"}}'] == 0
    assert found[f'request_latency_bucket{{{labels},le="32.4"}}'] == 2
    assert found[f'request_latency_bucket{{{labels},le="+Inf"}}'] == 3
    assert found[f"request_latency_count{{{labels}}}"] == 3
    assert found[f"request_latency_sum{{{labels}}}"] == 1e6 + 50


def test_names_and_bounds_are_tensorflow_servings() -> None:
    text = page({"m": counted(1.0)}).decode()
    assert re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE) == [
        (":tensorflow:serving:request_count", "counter"),
        (":tensorflow:serving:request_latency", "histogram"),
        (":tensorflow:serving:runtime_latency", "histogram"),
    ]
    bounds = re.findall(r'request_latency_bucket\{.*le="(\S+)"\} ', text)
    assert bounds[:4] == ["10", "18", "32.4", "58.32"]
    assert bounds[-2:] == ["1.47476e+09", "+Inf"]
    assert len(bounds) == 34
    runtime = 'model_name="m",API="predict",runtime="TF1"'
    assert f":tensorflow:serving:runtime_latency_sum{{{runtime}}} 500000\n" in text


def test_a_sum_of_days_still_grows_with_each_request() -> None:
    metrics = counted(3e6)
    (before,) = samples(page({"m": metrics}).decode(), r"request_latency_sum\S*").values()
    metrics.answered("predict", "REST", 150e-6, 50e-6)
    (after,) = samples(page({"m": metrics}).decode(), r"request_latency_sum\S*").values()
    assert after - before == 150


def test_nobody_asked_is_a_page_too() -> None:
    assert page({}).decode().count("\n") == 3
