"""The tuned card of a tuning."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace import tuned
from headrace.tune.model import Model
from headrace.tune.result import Tuning


def card_of(tuning: Tuning, model: Model) -> tuned.Tuned:
    """Write down what was chosen, for which machine, and what was seen of it."""
    chosen, objective = tuning.chosen, tuning.wanted.objective
    candidate, highest = chosen.candidate, chosen.highest
    rate_rps = None if highest is None else highest.rate_rps
    p99_s = None if highest is None else highest.p99_s
    untuned_highest = tuning.untuned.highest
    untuned_rps = None if untuned_highest is None else untuned_highest.rate_rps
    return tuned.Tuned(
        model_digest=tuned.digest(model.path),
        fingerprint=tuned.fingerprint(),
        settings=tuned.TunedSettings(
            backend=candidate.backend,
            precision=candidate.precision,
            instances=candidate.instances,
            threads=candidate.threads,
            max_batch=candidate.max_batch,
            linger_ms=candidate.linger_ms,
        ),
        objective=tuned.Objective(slo_ms=1e3 * objective.slo_s, quantile=objective.quantile),
        evidence=tuned.Evidence(
            # Where no time was left to look for it: what was answered in time of too much.
            highest_rate_rps=chosen.rate_rps if rate_rps is None else rate_rps,
            p99_s=objective.slo_s if p99_s is None else p99_s,
            forecast_rate_rps=chosen.forecast.rate_rps,
            baseline_rate_rps=tuning.untuned.rate_rps if untuned_rps is None else untuned_rps,
            memory_bytes=chosen.memory_bytes,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        accuracy=chosen.accuracy,
    )
