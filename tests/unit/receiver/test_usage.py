"""What of the models has been used, read from what is counted anyhow."""

from __future__ import annotations

import asyncio

import pytest

from headrace.control import Use, Used
from headrace.observe.metrics import ModelMetrics
from headrace.receiver import usage
from headrace.receiver.usage import Usage, use


def _metrics(name: str = "m") -> ModelMetrics:
    metrics = ModelMetrics(name, 1)
    metrics.gauges["queue_length"] = lambda: 0
    metrics.gauges["running_batches"] = lambda: 0
    return metrics


def _ran(metrics: ModelMetrics, at_s: float) -> None:
    metrics.runs.assembled(1, 1, 0.0)
    metrics.runs.ended(1, 1, 0.0, at_s)


def test_a_model_was_used_when_its_last_batch_ended_and_is_while_anything_waits() -> None:
    metrics = _metrics()
    assert use(metrics, 9.0) == Use(name="m", version=1, used_s=0.0, sequences=False)
    _ran(metrics, 5.0)
    assert use(metrics, 9.0).used_s == 5.0
    for gauge in ("queue_length", "running_batches"):
        metrics.gauges[gauge] = lambda: 1
        assert use(metrics, 9.0).used_s == 9.0
        metrics.gauges[gauge] = lambda: 0
    metrics.gauges["sequences"] = lambda: 2
    assert use(metrics, 9.0).sequences


async def test_only_what_is_new_is_told() -> None:
    told: list[Used] = []
    models = [_metrics("a"), _metrics("b")]
    usage_ = Usage(asyncio.get_running_loop(), lambda: models, told.append)
    usage_.tell()
    assert [one.name for one in told[-1].models] == ["a", "b"]
    usage_.tell()
    assert len(told) == 1
    _ran(models[1], 5.0)
    usage_.tell()
    assert [(one.name, one.used_s) for one in told[-1].models] == [("b", 5.0)]
    left = models.pop()
    usage_.tell()
    models.append(left)  # it has come back
    usage_.tell()
    assert [one.name for one in told[-1].models] == ["b"]


async def test_it_is_told_again_and_again_until_it_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage, "_EVERY_S", 0.001)
    came = asyncio.Event()
    metrics = _metrics()
    metrics.gauges["queue_length"] = lambda: 1  # used now, whenever it is asked
    told: list[Used] = []

    def tell(used: Used) -> None:
        told.append(used)
        if len(told) == 2:
            came.set()

    usage_ = Usage(asyncio.get_running_loop(), lambda: [metrics], tell)
    usage_.start()
    async with asyncio.timeout(5):
        await came.wait()
    usage_.stop()
