"""Write the dashboard for Grafana: ``python tools/grafana.py [TARGET]``.

One panel a picture, and every query once; Grafana's file says the same in a thousand lines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).parent.parent / "docs/grafana/headrace.json"

# Of Grafana 10 and newer; newer ones read it and bring it up to date.
_SCHEMA_VERSION = 39
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 24
_TILE_WIDTH, _TILE_HEIGHT = 4, 4

_SERVERS = 'instance=~"$instance"'
_CHOSEN = f'{_SERVERS}, model=~"$model", version=~"$version"'
_WHICH, _PROCESS = "model, version", "process, model, version"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    """A line or several, and what they are called."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A picture: what it says, its unit by Grafana's names, and what it is made of."""

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    stacked: bool = False


def _rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{{{_CHOSEN}{more}}}[$__rate_interval])"


def _percentile(share: float) -> Query:
    buckets = _rate("headrace_phase_seconds_bucket", ', phase="total"')
    return Query(f"histogram_quantile({share}, sum by (le) ({buckets}))", f"p{round(share * 100)}")


def _by(labels: str, what: str, over: str | None = None, how: str = "sum") -> Query:
    """A line for each of these labels; ``over`` is what it is a share of."""
    share = "" if over is None else f" / sum by ({labels}) ({over})"
    legend = " ".join(f"{{{{{label}}}}}" for label in labels.split(", "))
    return Query(f"{how} by ({labels}) ({what}){share}", legend)


def _phases() -> tuple[Query, ...]:
    """Means of those that had a phase; the wait for a load, which few have, is over all of them."""
    took = "headrace_phase_seconds_sum", "headrace_phase_seconds_count"
    had = [_rate(name, ', phase!~"load|total"') for name in took]
    load, whole = _rate(took[0], ', phase="load"'), _rate(took[1], ', phase="total"')
    return (
        Query(f"sum by (phase) ({load}) / on () group_left () sum ({whole})", "{{phase}}"),
        Query(f"sum by (phase) ({had[0]}) / sum by (phase) ({had[1]})", "{{phase}}"),
    )


_REQUESTS = _rate("headrace_requests_total")
_OK = _rate("headrace_requests_total", ', outcome="ok"')
_FAILED = _rate("headrace_requests_total", ', outcome!="ok"')
_P99 = _percentile(0.99)

TILES = (
    Panel("Requests", "", "reqps", (Query(f"sum({_REQUESTS})", ""),)),
    Panel(
        "Answered",
        "Of all requests that found their model.",
        "percentunit",
        (Query(f"sum({_OK}) / sum({_REQUESTS})", ""),),
    ),
    Panel("p99", "From arrival to encoded answer.", "s", (Query(_P99.expression, ""),)),
    Panel(
        "Waiting",
        "Requests that wait for a batch.",
        "short",
        (Query(f"sum(headrace_queue_length{{{_CHOSEN}}})", ""),),
    ),
    Panel(
        "Versions that serve",
        "",
        "short",
        (Query(f'sum(headrace_model_state{{{_CHOSEN}, state="serving"}})', ""),),
    ),
    Panel(
        "Memory of engines",
        "",
        "bytes",
        (Query(f"sum(headrace_model_memory_bytes{{{_CHOSEN}}})", ""),),
    ),
)
"""Numbers of now."""

PANELS = (
    Panel(
        "Requests by outcome",
        "ok, or the code of the error that answered them.",
        "reqps",
        (Query(f"sum by (outcome) ({_REQUESTS})", "{{outcome}}"),),
        stacked=True,
    ),
    Panel(
        "Latency",
        "From arrival to encoded answer, of what reached its model.",
        "s",
        (_percentile(0.5), _percentile(0.95), _P99),
    ),
    Panel(
        "Where the time of a request goes",
        "Means: assemble and infer of batches, the others of requests.",
        "s",
        _phases(),
        stacked=True,
    ),
    Panel(
        "Refusals by reason",
        "Not answered with outputs, in a model or before one was found.",
        "reqps",
        (
            Query(f"sum by (outcome) ({_FAILED})", "{{outcome}}"),
            Query(
                f"sum by (outcome) (rate(headrace_refused_total{{{_SERVERS}}}[$__rate_interval]))",
                "{{outcome}}, before a model",
            ),
        ),
        stacked=True,
    ),
    Panel(
        "Rows in a batch",
        "Means.",
        "short",
        (_by(_WHICH, _rate("headrace_batch_rows_sum"), _rate("headrace_batch_rows_count")),),
    ),
    Panel(
        "Requests that wait",
        "",
        "short",
        (_by(_WHICH, f"headrace_queue_length{{{_CHOSEN}}}"),),
        stacked=True,
    ),
    Panel(
        "Instances busy",
        "The share that runs. One that is busy with small batches has room for more.",
        "percentunit",
        (
            _by(
                _WHICH,
                _rate("headrace_phase_seconds_sum", ', phase="infer"'),
                f"headrace_model_instances{{{_CHOSEN}}}",
            ),
        ),
    ),
    Panel(
        "Padding",
        "Of all input elements that ran; of models that are padded.",
        "percentunit",
        (
            _by(
                _WHICH,
                _rate("headrace_run_elements_total", ', kind="padding"'),
                _rate("headrace_run_elements_total"),
            ),
        ),
    ),
    Panel(
        "Processors",
        "Cores that each process takes; of all models.",
        "short",
        (
            _by(
                _PROCESS,
                f"rate(headrace_process_cpu_seconds_total{{{_SERVERS}}}[$__rate_interval])",
            ),
        ),
        stacked=True,
    ),
    Panel(
        "Memory",
        "Resident, of each process; pages that they share count in each.",
        "bytes",
        (_by(_PROCESS, f"headrace_process_memory_bytes{{{_SERVERS}}}"),),
        stacked=True,
    ),
    Panel(
        "GPUs busy",
        "The time in which any kernel ran; needs headrace[gpu] where the server is.",
        "percentunit",
        (_by("instance, gpu", f"headrace_gpu_busy_ratio{{{_SERVERS}}}"),),
    ),
    Panel(
        "Memory of GPUs",
        "In use by anybody; needs headrace[gpu] where the server is.",
        "bytes",
        (_by("instance, gpu", f"headrace_gpu_memory_bytes{{{_SERVERS}}}"),),
    ),
    Panel(
        "Moves of versions",
        "recovering is an engine that died, evicting one that made room.",
        "short",
        (
            _by(
                "model, state",
                "increase(headrace_model_moves_total"
                f'{{{_SERVERS}, model=~"$model"}}[$__rate_interval])',
            ),
        ),
    ),
    Panel(
        "Load time",
        "start of the process, load, warm-up; of what is loaded now.",
        "s",
        (_by(f"{_WHICH}, part", f"headrace_model_load_seconds{{{_CHOSEN}}}", how="max"),),
    ),
)
"""Pictures of a time."""


def page() -> str:
    """The file."""
    document = {
        "title": "Headrace",
        "uid": "headrace",
        "description": "Requests, latencies, batches, models and memory of Headrace servers.",
        "tags": ["headrace"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "schemaVersion": _SCHEMA_VERSION,
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }
    return json.dumps(document, indent=1) + "\n"


def _variables() -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }
    chosen = ""
    for name, label in (("instance", "Server"), ("model", "Model"), ("version", "Version")):
        selected = f"{{{chosen}}}" if chosen else ""
        values = f"label_values(headrace_model_state{selected}, {name})"
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": values, "refId": name},
            "definition": values,
            "refresh": 2,
            "sort": 3,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
        chosen += f'{", " if chosen else ""}{name}=~"${name}"'


def _panels() -> Iterator[dict[str, Any]]:
    for place, panel in enumerate(TILES):
        where = {"x": place * _TILE_WIDTH, "y": 0, "w": _TILE_WIDTH, "h": _TILE_HEIGHT}
        yield _tile(panel) | {"id": place + 1, "gridPos": where}
    across = _COLUMNS // _WIDTH
    for place, panel in enumerate(PANELS):
        x, y = place % across * _WIDTH, _TILE_HEIGHT + place // across * _HEIGHT
        where = {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT}
        yield _picture(panel) | {"id": len(TILES) + place + 1, "gridPos": where}


def _tile(panel: Panel) -> dict[str, Any]:
    return _common(panel) | {
        "type": "stat",
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {
            "colorMode": "none",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def _picture(panel: Panel) -> dict[str, Any]:
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 60 if panel.stacked else 0,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }
    defaults = {"unit": panel.unit, "min": 0, "custom": custom}
    return _common(panel) | {
        "type": "timeseries",
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _common(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.write_text(page(), encoding="utf-8")
