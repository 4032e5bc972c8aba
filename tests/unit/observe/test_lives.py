"""What Prometheus reads of the lives of versions."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest

from headrace.observe.lives import Life, LifeCollector


def page(*lives: Life, moves: Counter[tuple[str, str]] | None = None) -> list[str]:
    registry = CollectorRegistry()
    registry.register(LifeCollector(lambda: lives, moves or Counter()))
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_version_that_serves_tells_state_memory_instances_and_load() -> None:
    assert page(Life("ocr", 3, "serving", 4096, {"start": 0.5, "load": 2.0}, 2)) == [
        'headrace_model_state{model="ocr",state="serving",version="3"} 1.0',
        'headrace_model_memory_bytes{model="ocr",version="3"} 4096.0',
        'headrace_model_instances{model="ocr",version="3"} 2.0',
        'headrace_model_load_seconds{model="ocr",part="start",version="3"} 0.5',
        'headrace_model_load_seconds{model="ocr",part="load",version="3"} 2.0',
    ]


def test_a_version_that_does_not_serve_tells_its_state_alone() -> None:
    assert page(Life("ocr", 3, "failed", None, {})) == [
        'headrace_model_state{model="ocr",state="failed",version="3"} 1.0'
    ]


def test_moves_outlive_versions() -> None:
    assert page(moves=Counter({("ocr", "recovering"): 2})) == [
        'headrace_model_moves_total{model="ocr",state="recovering"} 2.0'
    ]
