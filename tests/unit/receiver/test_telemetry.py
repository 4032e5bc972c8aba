"""The receiver's page of metrics."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.control import ModelState
from headrace.observe.metrics import ModelMetrics
from headrace.receiver import telemetry
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.telemetry import Telemetry
from headrace.settings import ModelSettings
from headrace.values import Signature
from tests.profiles import plain

MODELS = 5


def catalog() -> Catalog:
    catalog, signature = Catalog(configured=True), Signature((), (), batched=True)
    for name in map("m{}".format, range(MODELS)):
        catalog.set_state(ModelState(name=name, version=1, state="serving"))
        metrics = ModelMetrics(name, 1)
        metrics.outcomes["ok"] += 1
        catalog.add(ServedModel(name, 1, signature, ModelSettings(), (), plain(signature), metrics))
    return catalog


def test_between_models_requests_have_their_turn() -> None:
    told, turns = Telemetry(catalog(), Counter(shed=2)), 0

    async def scrape() -> str:
        nonlocal turns
        page = asyncio.ensure_future(told.page())
        while not page.done():
            await asyncio.sleep(0)
            turns += 1
        return await page

    families = {one.name: one for one in text_string_to_metric_families(asyncio.run(scrape()))}
    assert turns > MODELS
    counted = {
        one.labels["model"]: one.value
        for one in families["headrace_requests"].samples
        if one.labels["outcome"] == "ok"
    }
    assert counted == {f"m{number}": 1 for number in range(MODELS)}
    assert sum(one.value for one in families["headrace_refused"].samples) == 2
    assert "headrace_process_cpu_seconds" in families


def test_others_have_as_long_as_a_part_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pauses = itertools.count(), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(telemetry, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(telemetry, "asyncio", SimpleNamespace(sleep=sleep))
    asyncio.run(Telemetry(catalog(), Counter()).page())
    assert len(pauses) > MODELS
    assert set(pauses) == {1}


def test_the_families_are_told_before_there_is_a_model() -> None:
    page = asyncio.run(Telemetry(Catalog(configured=True), Counter()).page())
    assert "# TYPE headrace_request_seconds histogram" in page
