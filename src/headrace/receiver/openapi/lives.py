"""JSON schemas of what is told of models: their lives, their labels, what was measured of them."""

from __future__ import annotations

from typing import Any

from headrace.loader.lifecycle import State
from headrace.observe.phases import Phases

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_VERSION: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_LABEL: Schema = {"type": "string", "minLength": 1, "maxLength": 200}


def _object(needed: dict[str, Schema], also: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**needed, **(also or {})},
        "required": list(needed),
    }


_TUNED: Schema = _object(
    {
        "keys": {"type": "array", "items": _TEXT},
        "slo_ms": {"type": "number", "exclusiveMinimum": 0},
        "quantile": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "rate_rps": {"type": "number", "minimum": 0},
        "note": _TEXT,
    }
)
_LOADED: dict[str, Schema] = {
    "backend": _TEXT,
    "device": _TEXT,
    "precision": _TEXT,
    "instances": _COUNT,
    "threads": _COUNT,
    "cores": {"anyOf": [{"type": "array", "items": _TEXT}, {"type": "null"}]},
    "max_batch": _COUNT,
    "load_s": _object(dict.fromkeys(("start", "load", "warm"), _SECONDS)),
    "cached": _FLAG,
    "tuned": {"anyOf": [_TUNED, {"type": "null"}]},
}
LIFE: Schema = _object(
    {
        "name": _TEXT,
        "version": _VERSION,
        "state": {"enum": [state.value for state in State]},
        "reason": _TEXT,
        "since_unix_s": {"type": "number", "minimum": 0},
        "labels": {"type": "array", "items": _TEXT},
        "memory_bytes": {"type": ["integer", "null"], "minimum": 0},
    },
    _LOADED,
)
"""One version, of ``GET /models``; the last keys are only there while it serves."""

LIVES: Schema = _object({"models": {"type": "array", "items": LIFE}})
"""``GET /models``."""

LABELS: Schema = _object({"labels": {"type": "object", "additionalProperties": _VERSION}})
"""The labels of a model after ``PATCH /models/{model}/labels``."""

MOVED_LABELS: Schema = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 100,
    "propertyNames": _LABEL,
    "additionalProperties": {**_VERSION, "type": ["integer", "null"]},
}
"""What that takes: each label and its version, or null to remove it."""

_MEASUREMENT = _object(
    {
        "elements": {"type": "integer", "minimum": 0},
        "rows": _COUNT,
        "median_s": _SECONDS,
        "p95_s": _SECONDS,
    }
)
_RAN = _object(
    {"rows": _COUNT, "count": _COUNT, "infer_s": _SECONDS},
)
_RECENT = _object(
    {
        "ended_s": {"type": "array", "items": _SECONDS},
        "rows": {"type": "array", "items": _COUNT},
        "infer_s": {"type": "array", "items": _SECONDS},
    }
)
_SEEN = _object(
    {
        "cpu_s": _SECONDS,
        "answered": {"type": "integer", "minimum": 0},
        "tail_ratio": {"type": "number", "minimum": 0},
        "handover_s": _SECONDS,
        "runs": {"type": "array", "items": _RAN},
        "now_s": _SECONDS,
        "recent": _RECENT,
    }
)
_CHANGE = _object(
    {"at_unix_s": _SECONDS, **dict.fromkeys(("what", "before", "after", "cause", "reason"), _TEXT)}
)
_CONTROL: Schema = _object(
    {},
    {
        "steered": _FLAG,
        "lanes": _COUNT,
        "kept_lanes": _COUNT,
        "batch_cap": _COUNT,
        "longest_s": _SECONDS,
        "highest_rps": _SECONDS,
        "p99_s": {"type": ["number", "null"], "minimum": 0},
        "worth": {"type": "object", "additionalProperties": _SECONDS},
        "changes": {"type": "array", "maxItems": 16, "items": _CHANGE},
    },
)
PROFILE: Schema = _object(
    {
        "name": _TEXT,
        "version": _VERSION,
        "edition": _TEXT,
        "backend": _TEXT,
        "device": _TEXT,
        "precision": _TEXT,
        "cores": _COUNT,
        "receivers": _COUNT,
        "instances": _COUNT,
        "threads": _COUNT,
        "batch_sizes": {"type": "array", "items": _COUNT, "minItems": 1},
        "pads": _FLAG,
        "measurements": {"type": "array", "items": _MEASUREMENT},
        "slo_ms": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "max_queue": _COUNT,
        "linger_ms": {"type": "number", "minimum": 0},
        "f32_layers": {"type": "integer", "minimum": 0},
        "origins": {"type": "object", "additionalProperties": _TEXT},
        "control": _CONTROL,
        "seen": _SEEN,
    }
)
"""``GET /models/{model}/profile``."""

_PASSED: Schema = _object(
    {
        "model": _TEXT,
        "version": _VERSION,
        "id": _TEXT,
        "outcome": _TEXT,
        "ended_unix_s": _SECONDS,
        "total_s": _SECONDS,
        "phases_s": _object({key: {"type": "number"} for key in Phases._fields}),
        "batch_rows": {"type": "integer", "minimum": 0},
        "batch_requests": {"type": "integer", "minimum": 0},
    }
)
SLOWEST: Schema = _object({"requests": {"type": "array", "maxItems": 16, "items": _PASSED}})
"""``GET /slowest``, and that of one model."""
