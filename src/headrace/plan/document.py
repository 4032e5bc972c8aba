"""A plan as JSON: milliseconds, requests a second, shares of 1."""

from __future__ import annotations

import math
from typing import Any

from headrace.plan.calibration import SEQUENCES
from headrace.plan.compare import Beside, Compared
from headrace.plan.estimate import Estimate
from headrace.plan.make import Level, Plan
from headrace.plan.reasons import reasons

_MS = 1e3


def document(plan: Plan, beside: Beside) -> dict[str, Any]:
    """Write everything that a plan says, and what was measured beside it."""
    profile, question, enough = plan.profile, plan.question, plan.enough
    return {
        "model": profile.name,
        "version": profile.version,
        "backend": profile.backend,
        "precision": profile.precision,
        "instances": question.instances,
        "lanes": plan.machine.lanes,
        "threads": profile.threads,
        "slo_ms": None if question.slo_s is None else _round(question.slo_s * _MS),
        "rows": question.rows,
        "elements": question.elements,
        "arrivals": question.kind.value,
        "seeds": question.seeds,
        "limit_rps": {"mean": _round(plan.limit.mean), "off_by": _optional(plan.limit.off_by)},
        "capacity_rps": _round(plan.capacity.rate_rps),
        "receivers_rps": _round(plan.machine.receivers_rps),
        "largest_batch": plan.largest,
        "levels": [level_document(level) for level in plan.levels],
        "at_limit": None if plan.at_limit is None else level_document(plan.at_limit),
        "enough": None
        if enough is None
        else {
            "rate_rps": enough.rate_rps,
            "instances": enough.instances,
            "servers": enough.servers,
            "share_of_limit": None if enough.share is None else _round(enough.share),
        },
        "scaling": None if plan.scaling is None else plan.scaling.document(),
        "reasons": reasons(plan),
        "calibration": None
        if profile.calibration is None
        else profile.calibration.model_dump(mode="json", exclude=SEQUENCES),
        "measured": [compared_document(one) for one in beside.loads],
        "others_cores": [_round(cores) for cores in beside.others],
        "verdict": " ".join(beside.in_words()) or None,
    }


def compared_document(one: Compared) -> dict[str, Any]:
    """Write one load, predicted and measured."""
    measured, predicted = one.measured, one.predicted
    return {
        "share_of_limit": _round(one.share),
        "rate_rps": _round(measured.rate_rps),
        "p50_ms": _both(predicted.p50_s, measured.p50_s, one.p50_error),
        "p99_ms": _both(predicted.p99_s, measured.p99_s, one.p99_error),
        "mean_batch": [_round(predicted.batch.mean), _round(measured.batch)],
        "busy": [_round(predicted.busy.mean), _round(measured.busy)],
        "in_time": [_round(predicted.in_time.mean), _optional(measured.in_time)],
        "stretch": [_round(one.stretch), _optional(measured.stretch)],
        "lanes_on": _round(measured.lanes_on),
        "trusted": one.trusted,
        "causes": [] if one.trusted else one.causes(),
    }


def _both(
    predicted: Estimate | None, measured_s: float | None, error: float | None
) -> dict[str, float | None]:
    return {
        "predicted": None if predicted is None else _round(predicted.mean * _MS),
        "measured": None if measured_s is None else _round(measured_s * _MS),
        "error": _optional(error),
    }


def _optional(value: float | None) -> float | None:
    return None if value is None else _round(value)


def level_document(level: Level) -> dict[str, Any]:
    """Write one load."""
    played, law = level.played, level.law
    return {
        "share_of_limit": level.share,
        "rate_rps": _round(played.rate_rps),
        "mean_ms": _in_ms(played.mean_s),
        "p50_ms": _in_ms(played.p50_s),
        "p99_ms": _in_ms(played.p99_s),
        "mean_batch": played.batch.document(),
        "busy": played.busy.document(4),
        "in_time": played.in_time.document(5),
        "refused": {code: _round(share) for code, share in played.refused.items()},
        "in_server": None if level.in_server is None else _round(level.in_server),
        "law": {
            "mean_batch": _round(law.batch),
            "busy": _round(law.busy),
            "mean_ms": None if math.isinf(law.response_s) else _round(law.response_s * _MS),
        },
    }


def _in_ms(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.scaled(_MS).document()


def _round(value: float) -> float:
    """Four digits that matter: more would only look exact."""
    return float(f"{value:.4g}")
