"""A tuning as JSON: milliseconds, requests a second, shares of 1. Pure."""

from __future__ import annotations

from typing import Any

from headrace.tune.measured import Measured
from headrace.tune.reasons import reasons
from headrace.tune.receivers import Shared
from headrace.tune.result import Row, Tuning
from headrace.tune.space import Candidate

_MS = 1e3


def document(tuning: Tuning) -> dict[str, Any]:
    """Write everything that a tuning came to."""
    objective, ranking = tuning.wanted.objective, tuning.raced.ranking
    frontier = tuning.frontier
    return {
        "model": tuning.name,
        "slo_ms": rounded(objective.slo_s * _MS),
        "quantile": objective.quantile,
        "rate_rps": tuning.wanted.rate_rps,
        "max_drop": tuning.wanted.max_drop,
        "cores": tuning.cores,
        "samples": tuning.origin,
        "chosen": candidate_document(tuning.chosen.candidate),
        "untuned": candidate_document(tuning.untuned.candidate),
        "gain": _optional(tuning.gain),
        "candidates": [
            row_document(row) | {"frontier": row.candidate in frontier} for row in tuning.rows
        ],
        "tied": [] if ranking is None else [candidate_document(one) for one in ranking.tied],
        "measured": [measured_document(one) for one in tuning.measured],
        "left_out": [{"what": one.what, "why": one.why} for one in tuning.left_out],
        "reasons": reasons(tuning),
        "raced": ranking is not None,
        "ceiling_rps": tuning.raced.ceiling_rps,
        "receivers": None if tuning.raced.shared is None else _shared(tuning.raced.shared),
        "others_cores": [rounded(cores) for cores in tuning.others],
        "spent_s": round(tuning.spent_s, 1),
        "resumed": tuning.resumed,
    }


def candidate_document(one: Candidate) -> dict[str, Any]:
    """Write the settings of a candidate."""
    return {
        "backend": one.backend.value,
        "precision": one.precision.value,
        "instances": one.instances,
        "threads": one.threads,
        "max_batch": one.max_batch,
        "linger_ms": one.linger_ms,
        "f32_layers": one.f32_layers,
    }


def row_document(row: Row) -> dict[str, Any]:
    """Write what is known of a candidate."""
    found, highest = row.forecast, row.highest
    return candidate_document(row.candidate) | {
        "forecast_rps": rounded(found.rate_rps),
        "forecast_p99_ms": None if found.p99_s is None else rounded(found.p99_s * _MS),
        "raced_rps": None if row.raced_rps is None else row.raced_rps.document(1),
        "capped": row.capped,
        "forecast_error": _optional(row.forecast_error),
        "highest_rps": None if highest is None else _optional(highest.rate_rps),
        "highest_p99_ms": None
        if highest is None or highest.p99_s is None
        else rounded(highest.p99_s * _MS),
        "memory_bytes": row.memory_bytes,
        "accuracy": None if row.accuracy is None else row.accuracy.model_dump(mode="json"),
    }


def measured_document(one: Measured) -> dict[str, Any]:
    """Write the run times of a variant."""
    return {
        "backend": one.variant.backend.value,
        "precision": one.variant.precision.value,
        "f32_layers": one.variant.f32_layers,
        "threads": one.variant.threads,
        "knee": one.knee,
        "runs": [
            {
                "rows": point.rows,
                "median_ms": rounded(point.median_s * _MS),
                "bounds_ms": [rounded(end * _MS) for end in point.bounds_s],
                "p95_ms": rounded(point.p95_s * _MS),
                "runs": len(point.times_s),
            }
            for point in one.points
        ],
        "speeds": {str(lanes): rounded(speed) for lanes, speed in one.speeds.items()},
    }


def _shared(shared: Shared) -> dict[str, Any]:
    return {
        "count": shared.count,
        "pays": shared.pays,
        "alone_rps": [rounded(rate) for rate in shared.alone_rps],
        "shared_rps": [rounded(rate) for rate in shared.shared_rps],
    }


def _optional(value: float | None) -> float | None:
    return None if value is None else rounded(value)


def rounded(value: float) -> float:
    """Four digits that matter: more would only look exact."""
    return float(f"{value:.4g}")
