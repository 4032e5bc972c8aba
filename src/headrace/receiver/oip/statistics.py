"""What has been counted of a model, in Triton's words.

Source: Triton's docs/protocol/extension_statistics.md. Read when somebody asks.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from typing import Any

from headrace.errors import NotResident
from headrace.observe.histogram import Histogram
from headrace.observe.metrics import ModelMetrics
from headrace.observe.together import Topic
from headrace.receiver.catalog import ServedModel
from headrace.receiver.exchange import Core


def describe(served: Iterable[ServedModel]) -> list[dict[str, Any]]:
    """The statistics of versions, as one receiver has counted them."""
    now_s, now_ms = time.monotonic(), time.time() * 1e3
    return [_model(one, now_s, now_ms) for one in served]


async def asked(core: Core, name: str, version: int | None) -> list[dict[str, Any]]:
    """Those of one version, of all of a model, or of all models where no name is given.

    Raises:
        HeadraceError: the model or version is unknown or does not serve.
    """
    if name:
        with contextlib.suppress(NotResident):  # who watches a model must not have it loaded
            core.catalog.find(name, version)
    told = json.loads(await core.together(Topic.STATISTICS))
    return [
        one for one in told if name in {"", one["name"]} and version in {None, int(one["version"])}
    ]


def _model(served: ServedModel, now_s: float, now_ms: float) -> dict[str, Any]:
    metrics = served.metrics
    runs = metrics.runs
    last_ms = 0 if runs.last_s is None else int(now_ms - (now_s - runs.last_s) * 1e3)
    sizes = sorted((rows, tally) for rows, tally in runs.sizes.items() if tally.ended)
    return {
        "name": served.name,
        "version": str(served.version),
        "last_inference": last_ms,
        "inference_count": sum(rows * tally.ended for rows, tally in sizes),
        "execution_count": sum(tally.ended for _, tally in sizes),
        "inference_stats": _requests(metrics),
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(tally.assembled, tally.assemble_s),
                "compute_infer": _duration(tally.ended, tally.infer_s),
                "compute_output": _duration(0, 0),
            }
            for rows, tally in sizes
        ],
    }


def _requests(metrics: ModelMetrics) -> dict[str, Any]:
    runs, outcomes, requests = metrics.runs, metrics.outcomes, metrics.requests
    phases = requests.phases
    failed = sum(outcomes.values()) - outcomes["ok"]
    return {
        "success": _histogram(phases["total"]),  # not questions about the model, which end well too
        "fail": _duration(failed, requests.failed_s),
        "queue": _histogram(phases["queue"]),
        "compute_input": _duration(runs.assembled_entries, runs.assemble_s),
        "compute_infer": _duration(runs.entries, runs.infer_s),
        "compute_output": _histogram(phases["results"]),
        "cache_hit": _duration(0, 0),
        "cache_miss": _duration(0, 0),
    }


def _histogram(histogram: Histogram) -> dict[str, int]:
    return _duration(sum(histogram.counts), histogram.total)


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}
